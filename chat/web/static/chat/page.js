// Entry point of the chat page: one open chat, the chat list, the composer, one websocket.
import { attachAccount } from "./account.js";
import { AssistantChoice } from "./assistants.js";
import { connectionDown, connectionUp } from "./banner.js";
import { Composer } from "./composer.js";
import { Conversation, picturesOf, textOf } from "./conversation.js";
import { coverPage } from "./dialogs.js";
import { attachDrawer, closeDrawer } from "./drawer.js";
import { factsOf, onFilesKnown } from "./files.js";
import { attachHeader, drawHeader } from "./header.js";
import { get } from "./http.js";
import { data } from "./page-data.js";
import { sentence } from "./problems.js";
import { drawQueue } from "./queue.js";
import { attachReadingNotice } from "./readers.js";
import { Sender } from "./sender.js";
import { attachShortcuts } from "./shortcuts.js";
import { closeSource } from "./source.js";
import { Socket } from "./socket.js";
import { perTab } from "./storage.js";
import { Subscription } from "./subscription.js";
import { ThreadList } from "./threads.js";
import { toast } from "./toast.js";
import { Transcript } from "./transcript.js";
import { lookAfter } from "./unattended.js";
import { drawWelcome } from "./welcome.js";

// Storage key of the chat created last: a reload during its creation still opens it.
const MADE = "made";
const wide = matchMedia("(min-width: 54rem)");
const socket = new Socket(new URL(data.urls.socket, location.href.replace(/^http/, "ws")).href);
let conversation = new Conversation();
let opening = 0;

const sender = new Sender(socket, { onChange: changed, onSent: sent });
const subscription = new Subscription(socket, {
  onEvent: (frame) => {
    const what = conversation.apply(frame);
    // A text delta changes nothing outside the messages.
    if (what === "delta") transcript.changed();
    else if (what !== null) changed(conversation);
  },
  onThread: threadChanged,
  onGone: (id) => {
    threads.remove(id);
    if (id === conversation.id) open(null);
  },
  onRenewed: changed,
});
const transcript = new Transcript({
  decide: async (run, approval, decision) => {
    const { call_id: call, arguments_hash: hash } = approval;
    await socket.send({ type: "tool.decide", run: run.id, call, decision, arguments_hash: hash });
    keepFocus();
  },
  retry: async () => {
    await tell({ type: "run.retry", thread: conversation.id, assistant: choice.chosen?.id });
    keepFocus();
  },
  resend: (entry) => sender.again(entry),
  discard: (entry) => {
    sender.discard(entry);
    composer.giveBack(entry.content, entry.files);
  },
});
const composer = new Composer({ onSend: ask, onStop: stop });
const choice = new AssistantChoice((assistant) => {
  composer.writeTo(assistant);
  drawAround();
});
const threads = new ThreadList({
  open: (id) => open(id),
  onRenamed: threadChanged,
  onRemoved: (thread) => {
    if (thread.id === conversation.id) open(null);
  },
});

// Move the focus from a button that disappears, without opening the keyboard on phones.
function keepFocus() {
  if (wide.matches) composer.focus();
  else document.getElementById("transcript").focus({ preventScroll: true });
}

async function tell(frame) {
  try {
    return await socket.send(frame);
  } catch (error) {
    toast(sentence(error, "not_done"));
    return null;
  }
}

function ask(text, takeFiles = () => []) {
  if (!choice.chosen) return false;
  sender.send(conversation, choice.chosen.id, text, takeFiles());
  transcript.follow.toEnd();
  return true;
}

function stop() {
  const run = conversation.activeRun;
  if (run && run.status !== "cancelling") tell({ type: "run.cancel", run: run.id });
}

function withdraw(message) {
  tell({ type: "message.delete_queued", message: message.id }).then((ack) => {
    if (ack === null) return;
    conversation.queued.delete(message.id);
    changed(conversation);
    const ids = [...picturesOf(message), ...message.attachments.map((each) => each.file_id)];
    composer.giveBack(textOf(message), ids.flatMap((id) => factsOf(id) ?? []));
  });
}

function sent(home, ack) {
  threads.put(ack.thread);
  if (home === null || home !== conversation) {
    subscription.leave(ack.thread.id);
    return;
  }
  const isNew = home.id === null;
  home.putSent(ack);
  if (isNew) {
    history.replaceState(null, "", data.urls.chat + home.id);
    perTab.write(MADE, home.id);
    composer.named(home.id);
    threads.select(home.id);
    subscription.joined(home);
  }
  changed(home);
}

function threadChanged(thread) {
  threads.put(thread);
  if (thread.id !== conversation.id) return;
  conversation.thread = thread;
  drawHeader(thread);
}

function changed(which) {
  if (which !== conversation) return;
  transcript.changed();
  drawAround();
}

function drawAround() {
  composer.setBusy(conversation.activeRun !== null);
  lookAfter(conversation.activeRun);
  drawQueue([...conversation.queued.values()], { deciding: conversation.deciding, withdraw });
  drawWelcome(conversation.empty, choice.chosen, ask);
  drawHeader(conversation.thread);
}

function show(next) {
  conversation = next;
  closeSource();
  subscription.turnTo(next);
  threads.select(next.id);
  composer.open(next.id);
  transcript.show(next);
  const last = [...next.messages.values()].findLast((message) => message.atrium?.assistant);
  choice.choose(last?.atrium.assistant.id ?? data.assistants[0]?.id);
  sender.adopt(next);
  if (!next.empty) transcript.follow.toEnd();
}

async function open(id, { push = true, focus = true } = {}) {
  const turn = ++opening;
  perTab.remove(MADE);
  closeDrawer();
  let next = new Conversation();
  if (id !== null) {
    threads.select(id);
    try {
      const page = await get(`${data.urls.threads}/${id}/messages`);
      next = new Conversation(page.thread);
      next.load(page);
    } catch (error) {
      if (turn !== opening) return;
      threads.select(conversation.id);
      toast(sentence(error, "not_opened"));
      return;
    }
  }
  if (turn !== opening) return;
  if (push) history.pushState(null, "", id === null ? data.urls.home : data.urls.chat + id);
  show(next);
  if (focus && wide.matches) composer.focus();
  else if (document.activeElement === document.body) keepFocus();
}

function shownByAddress() {
  const { pathname } = location;
  return pathname.startsWith(data.urls.chat) ? pathname.slice(data.urls.chat.length) : null;
}

function start() {
  onFilesKnown(() => changed(conversation));
  attachAccount();
  attachReadingNotice();
  attachDrawer();
  attachHeader({
    current: () => conversation.thread,
    rename: (thread) => threads.rename(thread),
    remove: (thread) => threads.delete(thread),
  });
  attachShortcuts({ newChat: () => open(null), focusBox: () => composer.focus(), stop });
  document.getElementById("new-chat").addEventListener("click", (event) => {
    event.preventDefault();
    open(null);
  });
  addEventListener("popstate", () => {
    const id = shownByAddress();
    if (id !== conversation.id) open(id, { push: false });
  });
  socket.addEventListener("open", () => {
    connectionUp();
    subscription.renew();
    sender.flush();
  });
  socket.addEventListener("closed", ({ detail }) => {
    connectionDown(detail.code);
    subscription.lost();
    // A rejected handshake has no close code: an HTTP request shows the reason.
    if (detail.failures === 2) get(data.urls.threads).catch(() => {});
  });
  socket.addEventListener("ended", ({ detail }) => accessEnded(detail.code));
  document.addEventListener("atrium:signed-out", () => lost("signed_out", data.urls.sign_in));
  document.addEventListener("atrium:company-changed", () => lost("company_changed", data.urls.home));
  const first = new Conversation(data.opened?.thread ?? null);
  if (data.opened) first.load(data.opened);
  show(first);
  if (wide.matches) composer.focus();
  const made = perTab.read(MADE);
  if (made && first.id === null && performance.getEntriesByType("navigation")[0]?.type === "reload") open(made);
  socket.connect();
}

// Check with an HTTP request whether the session ended or the company changed: http.js then
// dispatches the event that blocks the page.
async function accessEnded(code) {
  subscription.lost();
  if (code === 4003) {
    lost("company_changed", data.urls.home);
    return;
  }
  const fine = await get(data.urls.threads).then(
    () => true,
    (error) => error.status !== 401 && error.status !== 409,
  );
  if (fine) socket.later();
}

function lost(kind, address) {
  socket.stop();
  coverPage(kind, address);
}

start();
