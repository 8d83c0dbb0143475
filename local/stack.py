"""Builds and deploys the real template: to the local engine, or to an account."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local import engine, envs

TEMPLATE = envs.ROOT / "template.yaml"
DEPLOY_BUCKET = "mlops-deploy"

#: Parameters of a local stack. Schedules are off: the demo and the tests invoke what a schedule would.
LOCAL_PARAMETERS = {
    "Target": "local",
    "LogRetentionDays": "1",
    "DriftScheduleState": "DISABLED",
    "QualityScheduleState": "DISABLED",
    "CostScheduleState": "DISABLED",
    "RetrainScheduleState": "DISABLED",
    "HousekeepingScheduleState": "DISABLED",
    "ApiRateLimit": "1000",
    "ApiBurstLimit": "2000",
}


#: Parameters that SAM itself decides by.
TRANSFORM_PARAMETERS = {"RequireApiKey"}


def build(target: str) -> Path:
    """Build the bundle; ``target`` is ``local`` (for the engine's own Python) or ``aws`` (for Lambda).

    Returns the folder with the built template. Output goes to a log, shown when the build fails.
    """
    folder = envs.ROOT / ".aws-sam" / target
    environment = {**os.environ, **_build_target(target), "SAM_CLI_TELEMETRY": "0", "PYTHON": sys.executable}
    with _one_at_a_time():
        _run_build(folder, target, environment)
    return folder


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Stacks of one checkout share the build folder: while one builds or deploys, another waits."""
    folder = envs.ROOT / ".aws-sam"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_build(folder: Path, target: str, environment: dict[str, str]) -> None:
    _logged(
        [
            envs.program("tools", "sam"), "build", "--config-env", "local" if target == "local" else "default",
            "--template", str(TEMPLATE), "--build-dir", str(folder),
        ],
        folder.parent / f"build-{target}.log",
        environment,
    )  # fmt: skip
    if target == "local":
        _pack_layers(folder)


def _pack_layers(folder: Path) -> None:
    """Let `sam deploy` upload layers that were packed before.

    It would compress half a gigabyte at every deployment, most of the time that a local one takes. The template that
    was built then names a zip archive instead of the folder; for AWS it stays as `sam build` left it.
    """
    template = folder / "template.yaml"
    text = template.read_text()
    for layer in sorted(folder.glob("*Layer")):
        files = sorted(path for path in layer.rglob("*") if path.is_file())
        listing = [(str(f.relative_to(layer)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        archive = (
            envs.ROOT / ".cache" / "layers" / "packed" / f"{hashlib.sha256(repr(listing).encode()).hexdigest()}.zip"
        )
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            partial = archive.with_suffix(f".{os.getpid()}")
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
                for file in files:
                    packed.write(file, file.relative_to(layer))
            partial.rename(archive)
        text = text.replace(f"ContentUri: {layer.name}\n", f"ContentUri: {archive}\n")
    template.write_text(text)


def _build_target(target: str) -> dict[str, str]:
    if target == "aws":
        return {}
    if target != "local":
        raise ValueError(f"unknown target {target}")
    # The engine runs functions on its own interpreter, whatever Runtime says.
    return {
        "MLOPS_BUILD_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        "MLOPS_BUILD_PLATFORM": f"{platform.machine()}-manylinux_2_28" if sys.platform == "linux" else "host",
    }


def bootstrap(environment: dict[str, str], stack_name: str) -> None:
    """What must exist before a first deployment; nothing happens when it does (see `mlops bootstrap --help`)."""
    subprocess.run(
        [sys.executable, "-m", "mlops", "bootstrap", "--stack", stack_name, "--yes"],
        check=True,
        cwd=envs.ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )


def deploy(stack: engine.Stack, parameters: dict[str, str] | None = None) -> dict[str, str]:
    """Deploy the local build to a running engine and return the stack's outputs.

    Raises
    ------
    subprocess.CalledProcessError
        with the log shown, when the deployment fails.
    """
    bootstrap(engine.credentials_environment(stack), stack.name)
    template = (envs.ROOT / ".aws-sam" / "local" / "template.yaml").read_text()
    stack.outputs = deploy_template(stack, stack.name, template, parameters or {})
    stack.save()
    return stack.outputs


def deploy_template(stack: engine.Stack, name: str, text: str, parameters: dict[str, str]) -> dict[str, str]:
    """Deploy a template, or a part of one, that was built for the local engine; returns its outputs."""
    environment = {**os.environ, **engine.credentials_environment(stack), "SAM_CLI_TELEMETRY": "0"}
    values = {**LOCAL_PARAMETERS, **_bundle_parameters(stack.name), **parameters}
    template = envs.ROOT / ".aws-sam" / "local" / f"{name}.yaml"
    command = [
        envs.program("tools", "sam"), "deploy",
        "--config-file", str(envs.ROOT / "samconfig.toml"), "--config-env", "local",
        "--template-file", str(template),
        "--stack-name", name, "--s3-bucket", _deploy_bucket(environment),
        "--tags", f"mlops:stack={name}",
        "--parameter-overrides", *_overrides(values),
    ]  # fmt: skip
    with _one_at_a_time():
        template.write_text(_with_defaults(text, values))
        try:
            _logged(command, stack.folder / f"deploy-{name}.log", environment)
        finally:
            template.unlink()
    return outputs(environment, name)


def _with_defaults(template: str, values: dict[str, str]) -> str:
    """The template with defaults of its own for what SAM reads while it transforms.

    AWS gives the transform the values of parameters; the local engine gives it the defaults alone.
    """
    for name in TRANSFORM_PARAMETERS & values.keys():
        block = rf"(^  {name}:\n(?:    .*\n|\n)*?    Default: ).*$"
        template, found = re.subn(block, rf"\g<1>{json.dumps(values[name])}", template, count=1, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"the template has no default for {name}")
    return template


def deploy_to_account(environment: str) -> int:
    """Bootstrap and deploy the AWS build with the account's credentials; a table of samconfig.toml says where."""
    config = tomllib.loads((envs.ROOT / "samconfig.toml").read_text())
    name = config[environment]["global"]["parameters"]["stack_name"]
    command = [sys.executable, "-m", "mlops", "bootstrap", "--stack", name, "--yes"]
    subprocess.run(command, check=True, cwd=envs.ROOT)
    fixed = config[environment]["deploy"]["parameters"].get("parameter_overrides", "").split()
    values = _overrides(_bundle_parameters(name))
    command = [
        envs.program("tools", "sam"), "deploy",
        "--config-file", str(envs.ROOT / "samconfig.toml"), "--config-env", environment,
        "--template-file", str(envs.ROOT / ".aws-sam" / "aws" / "template.yaml"),
        "--parameter-overrides", *fixed, *values,
    ]  # fmt: skip
    return subprocess.run(command, cwd=envs.ROOT, check=False).returncode


def _overrides(values: dict[str, str]) -> list[str]:
    """Parameters as `sam deploy` takes them: it splits at blanks that are not in quotes."""
    return [f'{name}="{value}"' for name, value in values.items()]


def _bundle_parameters(stack_name: str) -> dict[str, str]:
    """Names of the SSM parameters that `mlops bootstrap` makes, and where the code comes from."""
    return {
        "ModelLayerArn": f"/{stack_name}/model-layer-arn",
        "ModelRoutes": f"/{stack_name}/routes",
        "PseudonymKey": f"/{stack_name}/pseudonym-key",
        "JwksParameter": f"/{stack_name}/jwks",
        "CodeVersion": code_version(),
        "LockDigest": lock_digest(),
    }


def outputs(environment: dict[str, str], stack_name: str) -> dict[str, str]:
    """Outputs of a deployed stack."""
    script = (
        "import boto3,json,sys;"
        "s=boto3.client('cloudformation').describe_stacks(StackName=sys.argv[1])['Stacks'][0];"
        "print(json.dumps({o['OutputKey']:o['OutputValue'] for o in s['Outputs']}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, stack_name], check=True, capture_output=True, text=True, env=environment
    )
    values: dict[str, str] = json.loads(done.stdout)
    return values


def code_version() -> str:
    """The commit that is checked out, marked when files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=envs.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def lock_digest() -> str:
    """SHA-256 of the lock file that the layers were built from."""
    return hashlib.sha256((envs.ROOT / "locks" / "bundle.lock").read_bytes()).hexdigest()


def _deploy_bucket(environment: dict[str, str]) -> str:
    script = "import boto3,sys;boto3.client('s3').create_bucket(Bucket=sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, DEPLOY_BUCKET], check=True, env=environment, capture_output=True)
    return DEPLOY_BUCKET


def _logged(command: list[str], log: Path, environment: dict[str, str]) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=envs.ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        tail = log.read_text(errors="replace").splitlines()[-40:]
        print("\n".join(tail), file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command[:2])
