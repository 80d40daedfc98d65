// Elements and messages. What a server or a person wrote becomes a text node, never markup.

export const byId = (id) => document.getElementById(id);

/** An element with its properties (or attributes, where it has no such property) and children. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

export const button = (text, kind, onclick) => make("button", { type: "button", class: kind, onclick }, text);

/** Say it to those who listen instead of looking. */
export function announce(text) {
  byId("announcer").textContent = text;
}

const ADVICE = {
  unreachable: "See whether it still runs (make serve), then try again.",
  unauthorized: "Enter the key, then try again.",
  invalid_input: "Change what it names, then paint again.",
  overloaded: "Others are painting too: wait a moment, then try again.",
  unavailable: "Wait a moment, then try again.",
  storage_unavailable: "Wait a moment, then try again.",
  in_flight: "It is still being painted: wait a moment, then try again.",
  deadline_exceeded: "Try again, or ask for fewer or smaller pictures.",
  not_found: "It may have been removed since this page was opened: reload the page.",
  internal: "Try again; if it stays, the server's log has more under the request's number.",
};

/** A problem as a message: what is wrong, what to do, and under which number the server's log has it. */
export function notice(problem, ...actions) {
  const advice = ADVICE[problem.code];
  return make(
    "div",
    { class: "notice", role: "alert" },
    make("p", { class: "notice-title" }, problem.title ?? "Something went wrong"),
    make("p", {}, problem.detail ?? problem.message),
    advice && make("p", { class: "hint" }, advice),
    problem.requestId && make("p", { class: "hint" }, "Request ", make("code", {}, problem.requestId)),
    actions.length > 0 && make("div", { class: "row" }, actions),
  );
}
