"""Where the API key comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from responses_ws._core.headers import check_key
from responses_ws._core.secret import Secret
from responses_ws.errors import ConfigurationError

__all__ = ["KeySource"]


class KeySource:
    """A key, or a function that returns one.

    The constructor raises nothing, so that the caller can forget the plain key before anything does.

    :param given: the key; a function, called at each connect; an empty string for no key; None when there is
        none to be found.
    """

    __slots__ = ("_given",)

    def __init__(self, given: str | Callable[[], str] | None) -> None:
        self._given = given

    @property
    def missing(self) -> bool:
        return self._given is None

    def __bool__(self) -> bool:
        """Whether a key will be sent."""
        return self._given not in (None, "")

    def check(self) -> None:
        """Refuse now what can be seen to be wrong now. Raises :class:`ConfigurationError`."""
        if not callable(self._given) and self._given not in (None, ""):
            check_key(Secret(self._given))

    def secret(self) -> Secret | None:
        """The key of this moment; None for no key. Raises what the caller's function raises."""
        if self._given is None or self._given == "":
            return None
        secret = Secret(self._given() if callable(self._given) else self._given)
        if not isinstance(secret.reveal(), str):
            raise ConfigurationError("api_key: the function must return a str")
        return check_key(secret)

    def __repr__(self) -> str:
        return "KeySource('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeySource cannot be pickled")
