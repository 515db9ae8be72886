from __future__ import annotations
from unfold.sites import UnfoldAdminSite
site = UnfoldAdminSite()
