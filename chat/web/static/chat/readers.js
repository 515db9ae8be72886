// The notice that admins can read chats, or no longer can: it stays until it is acknowledged.
import { post } from "./http.js";
import { t } from "./page-data.js";
import { toast } from "./toast.js";

export function attachReadingNotice() {
  const notice = document.getElementById("reading-notice");
  if (notice === null) return;
  const button = notice.querySelector("button");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post(notice.dataset.url, { through: notice.dataset.through });
      notice.remove();
      document.getElementById("message").focus();
    } catch {
      button.disabled = false;
      toast(t("not_done"));
    }
  });
}
