// Account menu at the bottom of the chat list: company, profile, appearance, sign-out.
import { attachAppearance } from "./appearance.js";
import { attachMenu } from "./menu.js";
import { clearMemberData } from "./storage.js";

export function attachAccount() {
  const menu = document.getElementById("account-menu");
  attachMenu(document.getElementById("account-button"), menu);
  attachAppearance(menu);
  document.getElementById("sign-out").addEventListener("submit", () => clearMemberData());
}
