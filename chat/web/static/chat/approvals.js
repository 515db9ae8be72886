// Approval cards: the exact arguments of a tool call, with buttons to approve or decline.
import { formatMoment } from "./days.js";
import { arrange, el, icon } from "./dom.js";
import { createFactList, humanize } from "./facts.js";
import { t } from "./page-data.js";
import { getErrorMessage } from "./problems.js";

function renderExpiry({ expires_at: end }) {
  return end ? el("p", { class: "hint" }, t("approval_until", { time: formatMoment(end) })) : null;
}

function renderCard(approval, decide) {
  const label = approval.label || humanize(approval.name);
  const title = `approval-${approval.call_id}`;
  const problem = el("p", { class: "approval-problem", role: "alert" });
  const buttons = [];
  const submit = async (decision) => {
    for (const button of buttons) button.disabled = true;
    problem.textContent = "";
    try {
      await decide(approval, decision);
    } catch (error) {
      for (const button of buttons) button.disabled = false;
      problem.textContent = getErrorMessage(error, "not_done");
    }
  };
  buttons.push(
    el("button", { type: "button", class: "button primary", on: { click: () => submit("approve") } }, label),
    el("button", { type: "button", class: "button", on: { click: () => submit("decline") } }, t("decline")),
  );
  return el(
    "section",
    { class: "approval", "aria-labelledby": title },
    el("h3", { id: title }, icon("hand"), t("approval_title", { label })),
    el("p", {}, t("approval_text")),
    createFactList(typeof approval.arguments === "string" ? { value: approval.arguments } : approval.arguments),
    renderExpiry(approval),
    el("div", { class: "approval-buttons" }, ...buttons),
    problem,
  );
}

/** Approval cards of one answer; a card is kept while its approval is pending. */
export class Approvals {
  constructor(decide) {
    this.decide = decide;
    this.node = el("div", { class: "approvals" });
    this.cards = new Map();
  }

  update(run) {
    const open = run?.status === "requires_action" ? (run.atrium?.approvals ?? []) : [];
    const wanted = new Map();
    for (const approval of open) {
      const key = `${approval.call_id}:${approval.arguments_hash}`;
      const decide = (pending, decision) => this.decide(run, pending, decision);
      wanted.set(key, this.cards.get(key) ?? renderCard(approval, decide));
    }
    this.cards = wanted;
    arrange(this.node, [...wanted.values()]);
  }
}
