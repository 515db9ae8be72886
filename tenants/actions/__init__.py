"""All writes to the tables of `tenants` that people or programs request.

Each action runs in one transaction within the tenant scope, checks the permissions of
`principal` (the actor), writes to the audit log and raises an AtriumError. An operator is a
superuser who belongs to no tenant.
"""

from __future__ import annotations

from tenants.actions.companies import (
    create_tenant,
    enter_tenant,
    leave_tenant,
    resume_tenant,
    suspend_tenant,
    update_tenant_settings,
)
from tenants.actions.external import act_for_user, admit_user, get_or_build_external_principal
from tenants.actions.invitations import (
    accept_invitation,
    find_invitation,
    invite,
    withdraw_invitation,
)
from tenants.actions.keys import KEY_SCOPES, create_api_key, record_refused_key, revoke_api_key
from tenants.actions.people import (
    add_member,
    change_role,
    disable_member,
    enable_member,
    remove_member,
    sign_out_member,
    update_profile,
)
from tenants.actions.proof import prove_by_reset
from tenants.actions.reading import acknowledge_reading
from tenants.actions.second_factors import (
    list_waived_memberships,
    remove_waivers,
    set_company_factor,
    use_company_code,
    use_waiver,
    waive_second_factor,
)
from tenants.actions.users import create_operator, make_reset_link, remove_second_factor

__all__ = [
    "KEY_SCOPES",
    "accept_invitation",
    "acknowledge_reading",
    "act_for_user",
    "add_member",
    "admit_user",
    "change_role",
    "create_api_key",
    "create_operator",
    "create_tenant",
    "disable_member",
    "enable_member",
    "enter_tenant",
    "find_invitation",
    "get_or_build_external_principal",
    "invite",
    "leave_tenant",
    "list_waived_memberships",
    "make_reset_link",
    "prove_by_reset",
    "record_refused_key",
    "remove_member",
    "remove_second_factor",
    "remove_waivers",
    "resume_tenant",
    "revoke_api_key",
    "set_company_factor",
    "sign_out_member",
    "suspend_tenant",
    "update_profile",
    "update_tenant_settings",
    "use_company_code",
    "use_waiver",
    "waive_second_factor",
    "withdraw_invitation",
]
