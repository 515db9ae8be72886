from __future__ import annotations
from typing import Any
from django.http import HttpRequest, HttpResponse
def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse: return HttpResponse("bad", status=400)
def permission_denied(request: HttpRequest, exception: Any = None) -> HttpResponse: return HttpResponse("no", status=403)
def page_not_found(request: HttpRequest, exception: Any = None) -> HttpResponse: return HttpResponse("nf", status=404)
def server_error(request: HttpRequest) -> HttpResponse: return HttpResponse("err", status=500)
