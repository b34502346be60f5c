// Builds and updates elements. Everything that strangers wrote arrives here as text and stays text: there is no
// innerHTML on this page, and the content security policy forbids it besides.

const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const LONGEST = 300;
const SVG = "http://www.w3.org/2000/svg";

/** Control, invisible and bidirectional characters as visible escapes, as `aiops.kit.text.printable` does. */
export function visible(text) {
  return String(text).replace(UNSAFE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same, cut to a length that a line can hold. */
export function clipped(text, limit = LONGEST) {
  const all = visible(text);
  return all.length > limit ? `${all.slice(0, limit - 1)}…` : all;
}

/** A link target that is a place of this page or plain http; anything else (`javascript:`) becomes none. */
export function safeHref(url) {
  return /^(#|https?:\/\/|(?:api|runbooks|metrics)\b)/.test(url) ? url : null;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "href") {
      const target = safeHref(String(value));
      if (target !== null) element.setAttribute("href", target);
    } else if (name === "value") element.value = value;
    else if (name === "title" || name === "aria-label") element.setAttribute(name, clipped(value, 600));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(clipped(child)));
  }
  return element;
}

/** An element: `h("a", { href: "#/" }, "text", other)`. Text is cut at 300 characters. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Long text as it is, with its lines. */
export function long(tag, attributes, text) {
  const element = fill(document.createElement(tag), attributes, []);
  element.textContent = visible(text);
  return element;
}

const SHORT = 24; // characters of a cell that shares its line with others on a phone

/** A table that scrolls sideways where it must; rows are arrays of cells (elements or text). */
export function table(heads, rows, empty, label = "") {
  if (!rows.length) return h("p", { class: "dim" }, empty);
  const cells = (row) => row.map((content, index) => {
    const cell = h("td", { "data-head": heads[index] }, content);
    if (cell.textContent && cell.textContent.length <= SHORT) cell.className = "short";
    return cell;
  });
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label || heads.join(", ") },
    h("table", null,
      h("thead", null, h("tr", null, heads.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, rows.map((row) => h("tr", null, cells(row))))));
}

/** Make `old` look like `fresh` while keeping elements, so that focus, selection and scrolling survive an update. */
export function morph(old, fresh) {
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((want, index) => {
    const have = before[index];
    if (have === undefined) old.append(want);
    else if (!alike(have, want)) have.replaceWith(want);
    else if (have.nodeType === Node.TEXT_NODE) {
      if (have.data !== want.data) have.data = want.data;
    } else if (!have.hasAttribute("data-kept")) {
      attributes(have, want);
      morph(have, want);
    }
  });
  before.slice(after.length).forEach((node) => node.remove());
}

function alike(have, want) {
  if (have.nodeType !== want.nodeType || have.nodeName !== want.nodeName) return false;
  return have.nodeType === Node.TEXT_NODE || have.getAttribute("data-key") === want.getAttribute("data-key");
}

function attributes(have, want) {
  for (const { name } of [...have.attributes]) if (!want.hasAttribute(name) && name !== "open") have.removeAttribute(name);
  for (const { name, value } of want.attributes) if (have.getAttribute(name) !== value) have.setAttribute(name, value);
}
