"""Who may see the page: everybody on loopback, elsewhere who has the token.

On loopback there is no password, so a page of a stranger must not reach this one through the user's browser:
the name in the address bar has to be a loopback name (a stranger's name may be made to point here, which is
called DNS rebinding), and the API answers no request that another site makes.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from typing import Final

from aiohttp import web

from spanhouse.page.errors import Problem

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]{1,5})?")
_OWN: Final = ("", "same-origin", "none")
_COOKIE_SECONDS: Final = 30 * 86_400


def is_loopback(host: str) -> bool:
    """Whether the name or address can only be this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Decides on requests.

    Attributes:
        token: what has to be given once in the address; '' where none is needed.
    """

    def __init__(self, *, loopback: bool, token: str) -> None:
        self.token = token
        self._loopback = loopback
        # A cookie is for all ports of a host, so its name is this store's.
        self._cookie = f"spanhouse_{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    def check_host(self, request: web.BaseRequest) -> None:
        """Raise Problem 403 where the name in the address bar is not this machine's."""
        found = _HOST.fullmatch(request.headers.get("Host", ""))
        if self._loopback and not (found and is_loopback(found["v6"] or found["name"])):
            raise Problem(403, "This page answers to localhost only: open http://localhost with its port.")

    def check_api(self, request: web.BaseRequest) -> None:
        """Raise Problem: 403 for a request that another site makes, 401 for one without the token."""
        if request.headers.get("Sec-Fetch-Site", "") not in _OWN:
            raise Problem(403, "Another site may not ask this page.")
        if self.token and not self._is_token(request.cookies.get(self._cookie, "")):
            raise Problem(
                401, "Open the page with the address that `spanhouse up` prints: it ends in ?token=… ."
            )

    def admit(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to an address with a token in it: a cookie, and the same address without the token.

        Not by a redirect: a browser that follows one from another site sends no strict cookie along.
        """
        given = request.query.get("token")
        if given is None:
            return None
        others = [(name, value) for name, value in request.query.items() if name != "token"]
        target = request.rel_url.with_query(others)
        if self.token and not self._is_token(given):
            raise Problem(401, "This token is not valid. Use the address that `spanhouse up` prints.")
        response = web.Response(text="Welcome.\n", headers={"Refresh": f"0; url={target}"})
        if self.token:
            response.set_cookie(
                self._cookie, self.token, max_age=_COOKIE_SECONDS, httponly=True, samesite="Strict"
            )
        return response

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="surrogateescape"), self.token.encode())
