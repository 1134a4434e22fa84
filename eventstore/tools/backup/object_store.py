"""A backup in an object store: S3, Google Cloud Storage or Azure, through `obstore`.

`obstore` is the extra `backup`, and is imported when the first such place is opened. Credentials
come from the environment, as the providers' own tools have it (`AWS_ACCESS_KEY_ID` and the like).

Objects are put with the condition that the name is free. The store itself decides, so two writers
cannot both get a name, wherever they run.
"""

from __future__ import annotations

import itertools
from typing import Any

from eventstore.errors import (
    ConfigError,
    EventStoreError,
    ReadFailedError,
    StoreAccessError,
    StoreFailedError,
)
from eventstore.recovery_and_stats import printable

__all__ = ["ObjectPlace", "open_object_store"]


class ObjectPlace:
    """The objects under a prefix of a bucket. `store` is a store of `obstore`."""

    def __init__(self, store: Any, name: str) -> None:
        import obstore

        self._store = store
        self._obstore = obstore
        self.name = name

    def __repr__(self) -> str:
        return f"<ObjectPlace {self.name!r}>"

    def list(self, prefix: str) -> dict[str, int]:
        try:
            pages = self._obstore.list(self._store, prefix.rstrip("/") or None)
            return {found["path"]: found["size"] for found in itertools.chain.from_iterable(pages)}
        except Exception as error:
            raise self._error(error, "be listed") from error

    def get(self, name: str) -> bytes:
        try:
            return bytes(self._obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._error(error, f"be read ({name})") from error

    def put_new(self, name: str, data: bytes) -> bool:
        try:
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        except Exception as error:
            raise self._error(error, f"be written ({name})", writing=True) from error
        return True

    def remove(self, name: str) -> None:
        try:
            self._obstore.delete(self._store, name)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._error(error, f"be cleared ({name})", writing=True) from error

    def _error(self, error: Exception, what: str, writing: bool = False) -> EventStoreError:
        """Make the error of a failed request. Its first line says what the provider answered."""
        if isinstance(error, EventStoreError):
            return error
        kinds = self._obstore.exceptions
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])
        message = f"{self.name} cannot {what}: {reason}{_advice(reason)}"
        if isinstance(error, kinds.PermissionDeniedError | kinds.UnauthenticatedError):
            return StoreAccessError(f"{message}; check the credentials", path=self.name)
        if writing:
            return StoreFailedError(
                f"{message}; the earlier copies are as they were", path=self.name
            )
        return ReadFailedError(message, path=self.name)


_NO_CREDENTIALS = "; the environment has no credentials: set AWS_ACCESS_KEY_ID and the like"
_ADVICE = {
    "169.254.169.254": _NO_CREDENTIALS,  # the service that gives a machine in a cloud its role
    "metadata.google.internal": _NO_CREDENTIALS,
    "404 Not Found": "; is there such a bucket or container?",
    "builder error": "; for an endpoint of http:// set AWS_ALLOW_HTTP=true",
    "error sending request": "; is the endpoint right (AWS_ENDPOINT_URL), and can it be reached?",
}
"""What to do next, by a piece of the provider's or the library's answer."""


def _advice(reason: str) -> str:
    return next((advice for piece, advice in _ADVICE.items() if piece in reason), "")


def open_object_store(url: str) -> ObjectPlace:
    """Open a place such as `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.

    Raises `ConfigError` where the extra is not installed, or the URL names no object store.
    """
    try:
        import obstore.exceptions
        from obstore.store import from_url
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{url} needs obstore, which is not installed: pip install "
            "'asyncio-eventstore[backup]'",
            key="backup",
        ) from error
    try:
        return ObjectPlace(from_url(url), url)
    except (obstore.exceptions.BaseError, ValueError) as error:
        reason = printable((str(error).splitlines() or [""])[0])
        raise ConfigError(f"{url} names no object store: {reason}", key="backup") from error
