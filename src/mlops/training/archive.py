"""The archive in which a training job leaves its model folder."""

from __future__ import annotations

import io
import tarfile

from mlops.errors import MlopsError

#: Unpacked, in bytes. The contract's own limit on a model is far below (``gates.max_model_bytes``).
MAX_BYTES = 400_000_000
MAX_FILES = 50


def unpack(archive: bytes) -> dict[str, bytes]:
    """Files of ``model.tar.gz`` by name.

    Only plain files at the top are read: a training writes nothing else, and a name with a path in it could only be
    meant to end up elsewhere.

    Raises
    ------
    MlopsError
        for what is no such archive, or is too large.
    """
    files: dict[str, bytes] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as found:
            for member in found:
                name = member.name.removeprefix("./")
                if member.isdir() and name in ("", "."):
                    continue
                if not member.isfile() or "/" in name or name.startswith("."):
                    raise MlopsError(f"the archive holds '{name}', which no training writes", code="bad_archive")
                size += member.size
                if size > MAX_BYTES or len(files) >= MAX_FILES:
                    raise MlopsError(f"the archive is larger than {MAX_BYTES} bytes", code="bad_archive")
                body = found.extractfile(member)
                files[name] = body.read() if body else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise MlopsError(f"the archive cannot be read: {error}", code="bad_archive") from error
    return files
