"""Stopping the rented machine that this process runs on, through its provider."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

from exphil_tf.cloud.address import setting
from exphil_tf.foundation.errors import UserError


class Provider(NamedTuple):
    """How a provider stops a machine."""

    url: str
    """With the machine's id in it."""
    method: str
    body: dict[str, str] | None
    key: str
    """Variable of the key."""
    id: str
    """Variable of the machine's id, which the provider sets on it."""


PROVIDERS = {
    "runpod": Provider(
        "https://rest.runpod.io/v1/pods/{id}/stop", "POST", None, "RUNPOD_API_KEY", "RUNPOD_POD_ID"
    ),
    "vast": Provider(
        "https://console.vast.ai/api/v0/instances/{id}/", "PUT", {"state": "stopped"},
        "CONTAINER_API_KEY", "CONTAINER_ID",
    ),
}  # fmt: skip


def check(name: str, environ: Mapping[str, str]) -> None:
    """Refuses a machine that could not be stopped, before hours of work.

    Raises: UserError: names the variables that are missing.
    """
    _access(PROVIDERS[name], name, environ)


def stop(name: str, environ: Mapping[str, str], *, url: str | None = None) -> None:
    """Stops this machine.

    Args:
      name: of the provider.
      environ: the environment.
      url: of the request, for a provider elsewhere; None for its own.

    Raises: UserError: if the provider refuses; the machine then goes on, and so does its bill.
    """
    provider = PROVIDERS[name]
    key, machine = _access(provider, name, environ)
    request = urllib.request.Request(
        (url or provider.url).format(id=machine),
        method=provider.method,
        data=None if provider.body is None else json.dumps(provider.body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        reason = f"HTTP {error.code}"
    except OSError as error:
        reason = type(error).__name__
    else:
        return
    raise UserError(f"{name} does not stop this machine ({reason})", "Stop it by hand: it costs.")


def _access(provider: Provider, name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    found = {one: setting(one, environ) for one in (provider.key, provider.id)}
    missing = [one for one, value in found.items() if not value]
    if missing:
        raise UserError(f"--stop-pod {name}: {' and '.join(missing)} not set in the environment")
    machine = found[provider.id] or ""
    if not machine.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--stop-pod {name}: {provider.id}: want letters and digits")
    return found[provider.key] or "", machine
