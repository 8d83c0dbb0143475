"""The ledger's exports, signed by the key that the template makes, in the local engine's KMS; the stack's own check."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import stack
from mlops.aws.clients import client
from mlops.cli.app import run
from mlops.registry import anchors
from mlops.registry.entities import LedgerDraft
from tests.e2e.conftest import Deployed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def key(deployed: Deployed) -> str:
    """The template's own key, beside the stack."""
    built = yaml.safe_load((ROOT / ".aws-sam" / "local" / "template.yaml").read_text())
    built["Resources"] = {"LedgerKey": built["Resources"]["LedgerKey"]}
    built["Outputs"] = {"LedgerKeyArn": {"Value": {"Fn::GetAtt": ["LedgerKey", "Arn"]}}}
    name = f"{deployed.running.name}-key"
    outputs = stack.deploy_template(deployed.running, name, yaml.safe_dump(built), {"LedgerSigning": "on"})
    return outputs["LedgerKeyArn"]


@pytest.mark.parametrize("form", ["json", "csv"])
def test_an_export_is_signed_by_kms_and_checked_without_it(
    deployed: Deployed, key: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def mlops(*words: str, code: int = 0) -> Any:
        assert run(["--stack", deployed.running.name, "--json", "ledger", *words]) == code
        return json.loads(capsys.readouterr().out)

    file = tmp_path / f"ledger.{form}"
    written = mlops("export", str(file), "--sign", "--key", key)
    kms, public = client("kms"), tmp_path / "key.der"
    public.write_bytes(kms.get_public_key(KeyId=key)["PublicKey"])
    told = mlops("verify-export", str(file), "--public-key", str(public))
    assert (told["intact"], told["trusted"], told["signature"]["key"]) == (True, True, key)
    # KMS itself says the same of the digest.
    made = json.loads(Path(written["signature"]).read_text())
    asked = {"KeyId": key, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature, digest = base64.b64decode(made["signature"]), bytes.fromhex(made["sha256"])
    assert kms.verify(**asked, Message=digest, Signature=signature)["SignatureValid"] is True

    if form == "json":  # of a table, a further character makes a row that cannot be read
        file.write_bytes(file.read_bytes() + b" ")
        assert mlops("verify-export", str(file), code=1)["error"]["code"] == "bad_signature"


def test_the_stack_checks_and_anchors_its_ledger_itself(deployed: Deployed) -> None:
    bench = deployed.bench
    bench.ledger.append(LedgerDraft("user:auditor", "ledger.exported", "ledger", "the yearly audit", "exported"))
    done = bench.invoke("housekeeping", {"task": "daily"})
    assert done["ledger"] == "intact"
    last = anchors.newest(bench.anchorage, bench.stack)
    assert last is not None
    assert anchors.check(bench.ledger.entries(), [last]) == []
    assert bench.invoke("housekeeping", {"task": "anchor"})["ledger"] == "intact"
