"""S3 behind :class:`mlops.objects.ObjectStore`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.objects import ObjectInfo

_ABSENT = {"NoSuchKey", "NoSuchVersion", "NotFound", "404"}
# 412 when the object existed, 409 when another conditional write to the key is in flight.
_EXISTS = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}

#: Largest file that one request sends.
_ONE_REQUEST = 8 * 1024 * 1024

#: Most objects that one request deletes.
_AT_ONCE = 1000


class S3Objects:
    """One bucket. Encryption is the bucket's default, so that no writer can forget it."""

    def __init__(self, bucket: str, s3: Any = None) -> None:
        self.bucket = bucket
        self._given = s3

    @property
    def _s3(self) -> Any:
        return self._given or client("s3")

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        try:
            body: bytes = self._s3.get_object(**self._address(key, version_id))["Body"].read()
        except ClientError as error:
            raise self._translate(error, key) from error
        return body

    def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> bool:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **condition)
        except ClientError as error:
            if if_absent and error_code(error) in _EXISTS:
                return False
            raise
        return True

    def delete_many(self, keys: Sequence[str]) -> None:
        """Delete objects (in a versioned bucket: hide their newest version); those that are not there are no fault.

        Raises
        ------
        MlopsError
            naming the first one that could not be deleted.
        """
        for first in range(0, len(keys), _AT_ONCE):
            named = [{"Key": key} for key in keys[first : first + _AT_ONCE]]
            answer = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": named, "Quiet": True})
            for error in answer.get("Errors", []):
                raise MlopsError(f"the object '{error.get('Key')}' cannot be deleted: {error.get('Code')}")

    def exists(self, key: str) -> bool:
        try:
            self._s3.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error_code(error) in _ABSENT:
                return False
            raise
        return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                yield ObjectInfo(item["Key"], item["Size"], item["LastModified"].isoformat())

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=self.bucket, Key=key)

    def copy(self, source: str, target: str, *, version_id: str | None = None) -> None:
        # The managed copy goes part by part when the object is larger than one CopyObject takes (5 GB).
        try:
            self._s3.copy(self._address(source, version_id), self.bucket, target)
        except ClientError as error:
            raise self._translate(error, source) from error

    def download(self, key: str, path: str, *, version_id: str | None = None, etag: str | None = None) -> None:
        extra = {"VersionId": version_id} if version_id else None
        try:
            self._s3.download_file(self.bucket, key, path, ExtraArgs=extra)
            # Asked for afterwards: an object that is still the same was the same while it was read.
            found = self._s3.head_object(**self._address(key, version_id))["ETag"].strip('"') if etag else None
        except ClientError as error:
            raise self._translate(error, key) from error
        if found != etag:
            raise ConflictError(f"the object '{key}' was overwritten while it was read")

    def upload(
        self, path: str, key: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> bool:
        if os.path.getsize(path) <= _ONE_REQUEST:
            with open(path, "rb") as file:
                return self.put(key, file.read(), content_type=content_type, if_absent=if_absent)
        if if_absent and self.exists(key):
            return False
        self._s3.upload_file(path, self.bucket, key, ExtraArgs={"ContentType": content_type})
        return True

    def _address(self, key: str, version_id: str | None) -> dict[str, str]:
        address = {"Bucket": self.bucket, "Key": key}
        if version_id:
            address["VersionId"] = version_id
        return address

    def _translate(self, error: ClientError, key: str) -> Exception:
        if error_code(error) in _ABSENT:
            return NotFoundError(f"no object '{key}' in the bucket")
        return error
