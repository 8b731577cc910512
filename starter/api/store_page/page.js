"use strict";
/* The work of one store: what is to be done, and buttons that report what was done. */

const NODE = decodeURIComponent(location.pathname.split("/")[2] || "");
const WORK = `/v1/nodes/${encodeURIComponent(NODE)}/work`;
const KEY = "doms-api-key";
const EVERY_MS = 5000;
const SOON_MS = 1000;
const SOON_FOR_MS = 20000;
const TIMEOUT_MS = 15000;

const SHORT_REASONS = { not_found: "Not found", damaged: "Damaged", no_capacity: "No time", other: "Other" };
const REJECT_REASONS = { not_found: "We do not have it", damaged: "It is damaged", no_capacity: "No time", closed: "We are closed", other: "Another reason" };
const STATUS_WORDS = {
  created: "New", released: "New", acknowledged: "Accepted", picking: "Picked", packed: "Packed",
  ready_for_pickup: "Ready", shipped: "Sent", out_for_delivery: "Sent", exception: "Problem", delivered: "Delivered",
};
const DONE_WORDS = {
  accept: "Accepted", reject: "Given back", pick: "Picked", pack: "Packed", "hand-over": "Handed over",
  collect: "Collected", "confirm-cancel": "Cancelled", "refuse-cancel": "Kept",
};
const AT_NODE = new Set(["created", "released", "acknowledged", "picking", "packed", "ready_for_pickup", "exception"]);

const state = { tasks: [], name: "", open: {}, sent: {}, wrong: {}, filter: "all", at: null, soonUntil: 0, busy: new Set(), gone: new Set() };
let timer = 0;

const find = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* Calls */

class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

function explained(status, body) {
  if (status === 401) return "This needs an API key.";
  if (status === 403) return "This key may not do the work of this store.";
  if (status === 503) return "The system is not ready. Nothing was sent: try again.";
  const errors = body && Array.isArray(body.errors) ? body.errors.map((error) => error.message) : [];
  return errors.join("; ") || (body && body.detail) || `The system answered ${status}.`;
}

async function call(method, path, body, requestKey) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (requestKey) headers["Idempotency-Key"] = requestKey;
  let response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem("No connection. Try again: a repeat counts once.", 0);
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(explained(response.status, answer), response.status);
  return answer;
}

async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await call("GET", WORK);
    noteGone(answer.tasks);
    state.tasks = answer.tasks;
    state.name = answer.name || answer.node_id;
    state.at = new Date();
    forgetSettled();
    banner("");
    find("key-form").hidden = true;
  } catch (problem) {
    if (problem.status === 401) askForKey();
    else banner(problem.status === 0 ? "No connection. The list may be old." : problem.message);
  }
  show(true);
  const isSoon = Date.now() < state.soonUntil;
  if (find("key-form").hidden && !document.hidden) timer = setTimeout(refresh, isSoon ? SOON_MS : EVERY_MS);
}

function askForKey() {
  if (sessionStorage.getItem(KEY)) banner("That key is not known.");
  sessionStorage.removeItem(KEY);
  state.tasks = [];
  state.at = null;
  const wasHidden = find("key-form").hidden;
  find("key-form").hidden = false;
  if (wasHidden) find("key").focus();
}

function banner(text) {
  find("banner").textContent = text;
  find("banner").hidden = !text;
}

/* What was reported stays disabled until the list shows it, or for some time. */

const shape = (task) => JSON.stringify([task.status, task.lines, task.cancel_asked]);

/* Goods in somebody's hands whose order was cancelled, or goes elsewhere, have to go back. */
function noteGone(tasks) {
  const here = new Set(tasks.map((task) => task.fulfillment_id));
  for (const task of state.tasks) {
    const isInHand = task.status === "acknowledged" || task.status === "picking";
    if (isInHand && !here.has(task.fulfillment_id) && !state.sent[task.fulfillment_id]) state.gone.add(task.order_id);
  }
}

function goneNotices() {
  return [...state.gone].map((order) => make("div", { className: "note", role: "alert" },
    `${order} is cancelled or goes elsewhere: put its goods back.`,
    make("button", { type: "button", textContent: "Done", "data-focus": `gone/${order}`, on: { click: () => { state.gone.delete(order); show(); } } })));
}

function forgetSettled() {
  const known = new Map(state.tasks.map((task) => [task.fulfillment_id, task]));
  for (const [id, sent] of Object.entries(state.sent)) {
    const task = known.get(id);
    if (!task || shape(task) !== sent.shape || Date.now() > sent.until) delete state.sent[id];
  }
  for (const id of Object.keys(state.open)) {
    const task = known.get(id);
    if (!task || shape(task) !== state.open[id].shape) delete state.open[id];
  }
}

/* The same report has the same key, so that a second tap, or one after a lost answer, counts once. */
function requestKey(action, task, body) {
  if (action !== "pick" && !action.endsWith("cancel")) return null;
  let hash = 5381;
  for (const letter of JSON.stringify([action, body, task.status, task.lines])) hash = ((hash * 33) ^ letter.codePointAt(0)) >>> 0;
  return `page-${hash.toString(16)}`;
}

async function report(task, action, body) {
  const id = task.fulfillment_id;
  if (state.busy.has(id)) return;
  state.busy.add(id);
  delete state.wrong[id];
  show();
  try {
    await call("POST", `${WORK}/${encodeURIComponent(id)}/${action}`, body, requestKey(action, task, body));
    state.sent[id] = { words: DONE_WORDS[action], shape: shape(task), until: Date.now() + SOON_FOR_MS };
    delete state.open[id];
  } catch (problem) {
    state.wrong[id] = problem.message;
    if (problem.status === 401) askForKey();
  }
  state.busy.delete(id);
  state.soonUntil = Date.now() + SOON_FOR_MS;
  show();
  clearTimeout(timer);
  timer = setTimeout(refresh, SOON_MS / 2);
}

/* Showing */

const left = (line) => line.quantity - line.given_back;

/* While someone types or chooses, a refresh leaves the list alone. */
function show(isRefresh = false) {
  find("node").textContent = state.name || NODE;
  document.title = state.name || NODE;
  const time = state.at ? state.at.toLocaleTimeString([], { timeStyle: "short" }) : "";
  find("refresh").textContent = time ? `\u21bb ${time}` : "\u21bb";
  const isChoosing = document.activeElement && document.activeElement.matches("#tasks input, #tasks select");
  if (isRefresh && isChoosing) return;
  showFilters();
  const chosen = state.tasks.filter((task) => isAtNode(task) && matches(task));
  chosen.sort((one, other) => (one.ship_by || "9").localeCompare(other.ship_by || "9") || one.since.localeCompare(other.since));
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.focus : null;
  find("tasks").replaceChildren(...goneNotices(), ...chosen.map(card));
  if (focused) {
    const again = document.querySelector(`[data-focus="${CSS.escape(focused)}"]`);
    if (again) again.focus({ preventScroll: true });
    if (again && again.tagName === "INPUT") again.setSelectionRange(again.value.length, again.value.length);
  }
  find("empty").hidden = !state.at || chosen.length > 0;
  find("empty").textContent = state.filter === "all" ? "Nothing to do." : "Nothing of this kind.";
}

const isAtNode = (task) => AT_NODE.has(task.status);
const isNew = (task) => task.status === "created" || task.status === "released";
const isShipped = (task) => task.method === "ship";
const matches = (task) => state.filter === "all" || isShipped(task) === (state.filter === "ship");

function showFilters() {
  const here = state.tasks.filter(isAtNode);
  const counts = { all: here.length, ship: here.filter(isShipped).length };
  counts.pickup = counts.all - counts.ship;
  const hasBoth = counts.ship > 0 && counts.pickup > 0;
  if (!hasBoth) state.filter = "all";
  find("filters").hidden = !hasBoth;
  const words = { all: "All", ship: "To send", pickup: "Pick-up" };
  find("filters").replaceChildren(...Object.entries(words).map(([filter, word]) =>
    make("button", {
      type: "button", textContent: `${word} ${counts[filter]}`, "aria-pressed": String(state.filter === filter),
      on: { click: () => { state.filter = filter; show(); } },
    })));
}

function due(task) {
  if (!task.ship_by) return null;
  const at = new Date(task.ship_by);
  const isToday = at.toDateString() === new Date().toDateString();
  const isSoon = Math.abs(at - new Date()) < 6 * 86400000;
  const time = at.toLocaleTimeString([], { timeStyle: "short" });
  const day = at.toLocaleDateString([], isSoon ? { weekday: "short" } : { day: "numeric", month: "short" });
  const words = `${isShipped(task) ? "Send" : "Ready"} by ${isToday ? time : `${day}, ${time}`}`;
  return make("span", { textContent: isLate(task) ? `${words}: late` : words, className: isLate(task) ? "late" : "" });
}

const isLate = (task) => Boolean(task.ship_by) && new Date(task.ship_by) < new Date();

function card(task) {
  const id = task.fulfillment_id;
  const sent = state.sent[id];
  const units = task.lines.reduce((sum, line) => sum + left(line), 0);
  const kind = isShipped(task) ? "To send" : "Pick-up";
  const facts = make("p", { className: "facts" }, `${kind} · ${units} ${units === 1 ? "unit" : "units"}`);
  const by = due(task);
  if (by) facts.append(" · ", by);
  const element = make("article", { className: isLate(task) ? "task late" : "task", "aria-label": `Order ${task.order_id}` },
    make("div", { className: "head" },
      make("h2", { textContent: task.order_id }),
      make("span", { className: "chip", textContent: STATUS_WORDS[task.status] || task.status })),
    facts);
  if (task.cancel_asked) element.append(make("p", { className: "note", textContent: "The customer asks to cancel. Can you still stop it?" }));
  const open = state.open[id];
  element.append(open && open.action === "pick" ? pickLines(task, open) : shownLines(task));
  const parcels = shownParcels(task);
  if (parcels) element.append(parcels);
  if (state.wrong[id]) element.append(make("p", { className: "wrong", role: "alert", textContent: state.wrong[id] }));
  if (sent) element.append(make("p", { className: "said", textContent: `${sent.words} \u2713  sent, one moment` }));
  else element.append(...actions(task, open));
  return element;
}

function named(line) {
  return make("span", { className: "what" }, line.name || line.sku, make("small", { textContent: line.name ? line.sku : "" }));
}

function shownLines(task) {
  return make("ul", { className: "lines" }, ...task.lines.map((line) => {
    const isPicked = line.picked > 0 && !isNew(task);
    const many = isPicked ? `${line.picked} of ${line.quantity}` : `${left(line)} \u00d7`;
    return make("li", {}, named(line), make("span", { className: "many", textContent: many }));
  }));
}

function shownParcels(task) {
  const labelled = task.packages.filter((parcel) => parcel.tracking_number || parcel.label_url);
  if (!labelled.length) return null;
  return make("ul", { className: "parcels" }, ...labelled.map((parcel) => {
    const text = [parcel.carrier, parcel.tracking_number].filter(Boolean).join(" ");
    const isLink = /^https?:/.test(parcel.label_url || "");
    const link = isLink ? make("a", { className: "button", href: parcel.label_url, target: "_blank", rel: "noopener noreferrer", textContent: "Print label" }) : null;
    return make("li", {}, text, link);
  }));
}

function pickLines(task, open) {
  return make("ul", { className: "lines" }, ...task.lines.filter((line) => left(line) > 0).map((line) => {
    const chosen = open.lines[line.line_id];
    const most = left(line);
    const step = (by) => () => {
      chosen.picked = Math.max(0, Math.min(most, chosen.picked + by));
      show();
    };
    const place = `${task.fulfillment_id}/${line.line_id}`;
    const stepper = make("span", { className: "stepper" },
      make("button", { type: "button", textContent: "\u2212", disabled: chosen.picked === 0, "aria-label": `One less of ${line.sku}`, "data-focus": `${place}/less`, on: { click: step(-1) } }),
      make("output", { textContent: `${chosen.picked} of ${most}` }),
      make("button", { type: "button", textContent: "+", disabled: chosen.picked === most, "aria-label": `One more of ${line.sku}`, "data-focus": `${place}/more`, on: { click: step(1) } }));
    const row = make("li", {}, named(line), stepper);
    if (chosen.picked < most) row.append(reasonChoice(chosen, `${place}/why`));
    return row;
  }));
}

function reasonChoice(chosen, place) {
  const select = make("select", { "aria-label": "Why are units missing?", "data-focus": place, on: { change: () => { chosen.reason = select.value; show(); } } });
  select.append(make("option", { value: "", textContent: "Why is it missing?", disabled: true }));
  for (const [value, textContent] of Object.entries(SHORT_REASONS)) select.append(make("option", { value, textContent }));
  select.value = chosen.reason;
  return select;
}

function button(task, words, className, act, isDisabled = false) {
  return make("button", {
    type: "button", textContent: words, className, disabled: isDisabled || state.busy.has(task.fulfillment_id),
    "data-focus": `${task.fulfillment_id}/${words}`, on: { click: act },
  });
}

function actions(task, open) {
  if (task.cancel_asked) {
    return [make("div", { className: "actions" },
      button(task, "Yes, stopped", "primary", () => report(task, "confirm-cancel", {})),
      button(task, "No, too late", "danger", () => report(task, "refuse-cancel", {})))];
  }
  if (open && open.action === "pick") return pickActions(task, open);
  if (open && open.action === "reject") return rejectActions(task, open);
  const next = nextActions(task);
  if (!next.length) return [];
  return [make("div", { className: "actions" }, ...next)];
}

const beside = (...buttons) => make("div", { className: "row" }, ...buttons);

function nextActions(task) {
  const reject = button(task, "Reject", "danger", () => openForm(task, "reject"));
  const isWaiting = task.status === "packed" && isShipped(task) && !task.packages.some((parcel) => parcel.tracking_number);
  switch (task.status) {
    case "created": return [];
    case "released": return [beside(button(task, "Accept", "primary", () => report(task, "accept", {})), reject)];
    case "acknowledged": return [beside(button(task, "Pick", "primary", () => openForm(task, "pick")), reject)];
    case "picking": return [button(task, isShipped(task) ? "Packed" : "Packed, ready to collect", "primary", () => report(task, "pack", {}))];
    case "packed": return [button(task, isWaiting ? "Waiting for the label" : "Handed over to the carrier", "primary", () => report(task, "hand-over", {}), isWaiting)];
    case "ready_for_pickup": return [button(task, "Collected by the customer", "primary", () => report(task, "collect", {}))];
    default: return [];
  }
}

function openForm(task, action) {
  const lines = {};
  for (const line of task.lines) lines[line.line_id] = { picked: left(line), reason: "" };
  state.open[task.fulfillment_id] = { action, shape: shape(task), lines, reason: "", text: "" };
  delete state.wrong[task.fulfillment_id];
  show();
}

function close(task) {
  delete state.open[task.fulfillment_id];
  show();
}

function pickActions(task, open) {
  const facts = task.lines.filter((line) => left(line) > 0).map((line) => {
    const chosen = open.lines[line.line_id];
    const short = left(line) - chosen.picked;
    const fact = { line_id: line.line_id, picked: chosen.picked, short };
    return short ? { ...fact, reason: chosen.reason } : fact;
  });
  const picked = facts.reduce((sum, fact) => sum + fact.picked, 0);
  const missing = facts.reduce((sum, fact) => sum + fact.short, 0);
  const lacksReason = facts.some((fact) => fact.short && !fact.reason);
  const words = missing ? `Picked ${picked}, ${missing} missing` : `Picked all ${picked}`;
  return [make("div", { className: "actions" },
    button(task, words, "primary", () => report(task, "pick", { lines: facts }), lacksReason),
    button(task, "Back", "", () => close(task)))];
}

function rejectActions(task, open) {
  const choose = (reason) => () => { open.reason = reason; show(); };
  const reasons = Object.entries(REJECT_REASONS).map(([reason, words]) =>
    make("button", { type: "button", textContent: words, "aria-pressed": String(open.reason === reason),
      className: open.reason === reason ? "primary" : "", "data-focus": `${task.fulfillment_id}/${reason}`, on: { click: choose(reason) } }));
  const words = open.text.trim();
  const input = make("input", { type: "text", maxLength: 200, value: open.text, placeholder: "In a few words", "aria-label": "Reason in a few words",
    "data-focus": `${task.fulfillment_id}/text`, on: { input: () => { open.text = input.value; } } });
  const isOther = open.reason === "other";
  const body = () => ({ reason: isOther && open.text.trim() ? open.text.trim() : open.reason });
  return [
    make("div", { className: "reasons" }, make("p", { textContent: "Why?" }), ...reasons, isOther ? input : null),
    make("div", { className: "actions" },
      button(task, "Give it back", "danger", () => report(task, "reject", body()), !open.reason),
      button(task, "Back", "", () => close(task)))];
}

/* Start */

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = find("key").value.trim();
  if (!key) return;
  sessionStorage.setItem(KEY, key);
  find("key").value = "";
  banner("");
  find("key-form").hidden = true;
  refresh();
});
find("refresh").addEventListener("click", refresh);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
show();
refresh();
