// Entry point of the chat page: one open chat, the chat list, the composer, one websocket.
import { attachAccount } from "./account.js";
import { AssistantChoice } from "./assistants.js";
import { showConnected, showDisconnected } from "./banner.js";
import { Composer } from "./composer.js";
import { Conversation, getImageIds, getText } from "./conversation.js";
import { coverPage } from "./dialogs.js";
import { attachDrawer, closeDrawer } from "./drawer.js";
import { getFacts, onFilesChange } from "./files.js";
import { attachHeader, drawHeader } from "./header.js";
import { get } from "./http.js";
import { data } from "./page-data.js";
import { getErrorMessage } from "./problems.js";
import { drawQueue } from "./queue.js";
import { attachReadingNotice } from "./readers.js";
import { Sender } from "./sender.js";
import { attachShortcuts } from "./shortcuts.js";
import { closeSource } from "./source.js";
import { Socket } from "./socket.js";
import { perTab } from "./storage.js";
import { Subscription } from "./subscription.js";
import { ThreadList } from "./threads.js";
import { showToast } from "./toast.js";
import { Transcript } from "./transcript.js";
import { updateWorkerNotice } from "./unattended.js";
import { drawWelcome } from "./welcome.js";

// Storage key of the chat created last: a reload during its creation still opens it.
const CREATED_CHAT = "made";
const wide = matchMedia("(min-width: 54rem)");
const socket = new Socket(new URL(data.urls.socket, location.href.replace(/^http/, "ws")).href);
let conversation = new Conversation();
let opening = 0;

const sender = new Sender(socket, { onChange: redraw, onSent: handleSent });
const subscription = new Subscription(socket, {
  onEvent: (frame) => {
    const change = conversation.apply(frame);
    // A text delta changes nothing outside the messages.
    if (change === "delta") transcript.scheduleDraw();
    else if (change !== null) redraw(conversation);
  },
  onThread: updateThread,
  onDeleted: (id) => {
    threads.remove(id);
    if (id === conversation.id) openThread(null);
  },
  onRefreshed: redraw,
});
const transcript = new Transcript({
  decide: async (run, approval, decision) => {
    const { call_id: call, arguments_hash: hash } = approval;
    await socket.send({ type: "tool.decide", run: run.id, call, decision, arguments_hash: hash });
    keepFocus();
  },
  retry: async () => {
    await sendFrame({ type: "run.retry", thread: conversation.id, assistant: choice.chosen?.id });
    keepFocus();
  },
  resend: (entry) => sender.resend(entry),
  discard: (entry) => {
    sender.discard(entry);
    composer.restore(entry.content, entry.files);
  },
});
const composer = new Composer({ onSend: sendMessage, onStop: stop });
const choice = new AssistantChoice((assistant) => {
  composer.setAssistant(assistant);
  drawControls();
});
const threads = new ThreadList({
  open: (id) => openThread(id),
  onRenamed: updateThread,
  onRemoved: (thread) => {
    if (thread.id === conversation.id) openThread(null);
  },
});

// Move the focus from a button that disappears, without opening the keyboard on phones.
function keepFocus() {
  if (wide.matches) composer.focus();
  else document.getElementById("transcript").focus({ preventScroll: true });
}

async function sendFrame(frame) {
  try {
    return await socket.send(frame);
  } catch (error) {
    showToast(getErrorMessage(error, "not_done"));
    return null;
  }
}

function sendMessage(text, takeFiles = () => []) {
  if (!choice.chosen) return false;
  sender.send(conversation, choice.chosen.id, text, takeFiles());
  transcript.autoScroll.scrollToEnd();
  return true;
}

function stop() {
  const run = conversation.activeRun;
  if (run && run.status !== "cancelling") sendFrame({ type: "run.cancel", run: run.id });
}

function withdraw(message) {
  sendFrame({ type: "message.delete_queued", message: message.id }).then((ack) => {
    if (ack === null) return;
    conversation.queued.delete(message.id);
    redraw(conversation);
    const ids = [...getImageIds(message), ...message.attachments.map((attachment) => attachment.file_id)];
    composer.restore(getText(message), ids.flatMap((id) => getFacts(id) ?? []));
  });
}

function handleSent(home, ack) {
  threads.put(ack.thread);
  if (home === null || home !== conversation) {
    subscription.unsubscribe(ack.thread.id);
    return;
  }
  const isNew = home.id === null;
  home.putSent(ack);
  if (isNew) {
    history.replaceState(null, "", data.urls.chat + home.id);
    perTab.write(CREATED_CHAT, home.id);
    composer.setThreadId(home.id);
    threads.select(home.id);
    subscription.markSubscribed(home);
  }
  redraw(home);
}

function updateThread(thread) {
  threads.put(thread);
  if (thread.id !== conversation.id) return;
  conversation.thread = thread;
  drawHeader(thread);
}

function redraw(target) {
  if (target !== conversation) return;
  transcript.scheduleDraw();
  drawControls();
}

function drawControls() {
  composer.setBusy(conversation.activeRun !== null);
  updateWorkerNotice(conversation.activeRun);
  drawQueue([...conversation.queued.values()], { needsApproval: conversation.needsApproval, withdraw });
  drawWelcome(conversation.empty, choice.chosen, sendMessage);
  drawHeader(conversation.thread);
}

function showConversation(next) {
  conversation = next;
  closeSource();
  subscription.switchTo(next);
  threads.select(next.id);
  composer.open(next.id);
  transcript.show(next);
  const last = [...next.messages.values()].findLast((message) => message.atrium?.assistant);
  choice.choose(last?.atrium.assistant.id ?? data.assistants[0]?.id);
  sender.restorePending(next);
  if (!next.empty) transcript.autoScroll.scrollToEnd();
}

async function openThread(id, { push = true, focus = true } = {}) {
  const turn = ++opening;
  perTab.remove(CREATED_CHAT);
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
      showToast(getErrorMessage(error, "not_opened"));
      return;
    }
  }
  if (turn !== opening) return;
  if (push) history.pushState(null, "", id === null ? data.urls.home : data.urls.chat + id);
  showConversation(next);
  if (focus && wide.matches) composer.focus();
  else if (document.activeElement === document.body) keepFocus();
}

function getThreadIdFromUrl() {
  const { pathname } = location;
  return pathname.startsWith(data.urls.chat) ? pathname.slice(data.urls.chat.length) : null;
}

function start() {
  onFilesChange(() => redraw(conversation));
  attachAccount();
  attachReadingNotice();
  attachDrawer();
  attachHeader({
    current: () => conversation.thread,
    rename: (thread) => threads.rename(thread),
    remove: (thread) => threads.delete(thread),
  });
  attachShortcuts({ newChat: () => openThread(null), focusBox: () => composer.focus(), stop });
  document.getElementById("new-chat").addEventListener("click", (event) => {
    event.preventDefault();
    openThread(null);
  });
  addEventListener("popstate", () => {
    const id = getThreadIdFromUrl();
    if (id !== conversation.id) openThread(id, { push: false });
  });
  socket.addEventListener("open", () => {
    showConnected();
    subscription.resubscribe();
    sender.flush();
  });
  socket.addEventListener("closed", ({ detail }) => {
    showDisconnected(detail.code);
    subscription.handleDisconnect();
    // A rejected handshake has no close code: an HTTP request shows the reason.
    if (detail.failures === 2) get(data.urls.threads).catch(() => {});
  });
  socket.addEventListener("ended", ({ detail }) => checkAccess(detail.code));
  document.addEventListener("atrium:signed-out", () => blockPage("signed_out", data.urls.sign_in));
  document.addEventListener("atrium:company-changed", () => blockPage("company_changed", data.urls.home));
  const first = new Conversation(data.opened?.thread ?? null);
  if (data.opened) first.load(data.opened);
  showConversation(first);
  if (wide.matches) composer.focus();
  const created = perTab.read(CREATED_CHAT);
  const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
  if (created && first.id === null && reloaded) openThread(created);
  socket.connect();
}

// Check with an HTTP request whether the session ended or the company changed: http.js then
// dispatches the event that blocks the page.
async function checkAccess(code) {
  subscription.handleDisconnect();
  if (code === 4003) {
    blockPage("company_changed", data.urls.home);
    return;
  }
  const allowed = await get(data.urls.threads).then(
    () => true,
    (error) => error.status !== 401 && error.status !== 409,
  );
  if (allowed) socket.reconnectLater();
}

function blockPage(kind, address) {
  socket.stop();
  coverPage(kind, address);
}

start();
