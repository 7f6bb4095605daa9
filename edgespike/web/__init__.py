"""The live view of a stream in a browser (extra ``web``)."""

from edgespike.web.server import WebView

__all__ = ["WebView"]
