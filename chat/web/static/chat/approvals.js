// Approval cards: the exact arguments of a tool call, with buttons to approve or decline.
import { moment } from "./days.js";
import { arrange, el, icon } from "./dom.js";
import { factList, readable } from "./facts.js";
import { t } from "./page-data.js";
import { sentence } from "./problems.js";

function until({ expires_at: end }) {
  return end ? el("p", { class: "hint" }, t("approval_until", { time: moment(end) })) : null;
}

function card(approval, decide) {
  const label = approval.label || readable(approval.name);
  const title = `approval-${approval.call_id}`;
  const problem = el("p", { class: "approval-problem", role: "alert" });
  const buttons = [];
  const answer = async (decision) => {
    for (const button of buttons) button.disabled = true;
    problem.textContent = "";
    try {
      await decide(approval, decision);
    } catch (error) {
      for (const button of buttons) button.disabled = false;
      problem.textContent = sentence(error, "not_done");
    }
  };
  buttons.push(
    el("button", { type: "button", class: "button primary", on: { click: () => answer("approve") } }, label),
    el("button", { type: "button", class: "button", on: { click: () => answer("decline") } }, t("decline")),
  );
  return el(
    "section",
    { class: "approval", "aria-labelledby": title },
    el("h3", { id: title }, icon("hand"), t("approval_title", { label })),
    el("p", {}, t("approval_text")),
    factList(typeof approval.arguments === "string" ? { value: approval.arguments } : approval.arguments),
    until(approval),
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
      wanted.set(key, this.cards.get(key) ?? card(approval, (each, word) => this.decide(run, each, word)));
    }
    this.cards = wanted;
    arrange(this.node, [...wanted.values()]);
  }
}
