"""Every string the page's scripts show, translated when the page is rendered."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

WORDS = {
    # What is on its way
    "connecting": _("Connecting again … What you write is kept."),
    "offline": _("You are offline. What you write is kept and sent later."),
    "too_many_pages": _("Too many windows are open. Close one to go on here."),
    "no_worker": _("Nothing is there to answer at the moment: your message is kept and waits."),
    "sending": _("Sending …"),
    "not_sent": _("This message was not sent."),
    "not_done": _("That did not work. Try again in a moment."),
    "send_again": _("Send again"),
    "discard": _("Take back"),
    "too_long": _("This message is too long. Send it in parts."),
    "waiting": _("Waiting until this answer is finished"),
    "withdraw": _("Take back"),
    "placeholder": _("Write a message"),
    "placeholder_busy": _("Write the next message"),
    # Answers
    "you_said": _("You wrote"),
    "assistant": _("Assistant"),
    "demonstration": _("Demonstration, not a language model"),
    "starting": _("Starting …"),
    "thinking": _("Working on it …"),
    "stopping": _("Stopping …"),
    "answer_stopped": _("You stopped this answer."),
    "answer_cut": _("This answer was cut short."),
    "answer_failed": _("The assistant could not answer."),
    "answer_late": _("This answer took too long and was ended."),
    "try_again": _("Try again"),
    "copy": _("Copy"),
    "copied": _("Copied"),
    "code": _("Code"),
    "code_in": _("Code: {language}"),
    "table": _("Table"),
    "image": _("Picture: {name}"),
    # What the assistant did
    "step_working": _("working …"),
    "step_waiting": _("waiting for you"),
    "step_declined": _("declined"),
    "step_failed": _("did not work"),
    "step_unknown": _("outcome unknown"),
    "step_cancelled": _("stopped"),
    "asked_with": _("Asked with"),
    "result": _("Result"),
    "no_details": _("Nothing more to show."),
    # Approval
    "approval_title": _("{label}?"),
    "approval_text": _("The assistant asks to do exactly this. Nothing happens until you decide."),
    "approval_until": _("It waits for you until {time}."),
    "approve": _("Approve: {label}"),
    "decline": _("Decline"),
    # Chats
    "new_chat": _("New chat"),
    "today": _("Today"),
    "yesterday": _("Yesterday"),
    "last_week": _("Last 7 days"),
    "last_month": _("Last 30 days"),
    "chat_actions": _("Actions for “{title}”"),
    "rename": _("Rename"),
    "delete": _("Delete"),
    "deleted": _("“{title}” was deleted."),
    "undo": _("Undo"),
    "not_opened": _("This chat could not be opened. Try again in a moment."),
    "close": _("Close"),
    # What the server refused, by its code
    "problem_not_found": _("This no longer exists."),
    "problem_disconnected": _("That did not reach the server. Try again in a moment."),
    "problem_unreachable": _("That did not reach the server. Try again in a moment."),
    "problem_thread_busy": _("The assistant is still answering. Wait for it or stop it first."),
    "problem_thread_full": _("This chat is full. Start a new one."),
    "problem_run_finished": _("This answer has already ended."),
    "problem_nothing_to_decide": _("There is nothing to decide here any more."),
    "problem_approval_changed": _("What was to be approved has changed. Look at it again."),
    "problem_assistant_disabled": _("This assistant is switched off. Choose another."),
    # The page is out of date
    "signed_out": _("You are signed out"),
    "signed_out_text": _("Sign in again to go on. What you wrote is kept in this browser."),
    "signed_out_go": _("Sign in"),
    "company_changed": _("You changed company"),
    "company_changed_text": _(
        "This page still shows the company you left, or your access to it has ended."
    ),
    "company_changed_go": _("Reload"),
}
