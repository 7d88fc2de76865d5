"use strict";
const form = document.getElementById("form");
const said = document.getElementById("said");
const answer = document.getElementById("answer");
const make = (kind, text, parent) => {
  const made = document.createElement(kind);
  made.textContent = text;
  parent.append(made);
  return made;
};
const post = async (path, options) => {
  const reply = await fetch(location.pathname + path, { method: "POST", ...options });
  if (!reply.ok) throw new Error(await reply.text());
  return reply;
};
const percent = (p) => (p < 0.001 ? "< 0.1 %" : p > 0.999 ? "> 99.9 %" : (100 * p).toFixed(1) + " %");
const show = (found) => {
  for (const row of found.rows) {
    const line = make("p", "", answer);
    line.className = "score";
    make("span", row.name + ": ", line);
    make("strong", percent(row.probability), line);
    make("span", " " + found.question, line);
    if (row.classes.length) {
      const list = make("ul", "", answer);
      for (const [name, p] of row.classes) make("li", name + " " + percent(p), list);
    }
  }
  for (const note of found.notes) make("p", note, answer).className = "note";
  for (const one of found.pictures) {
    const figure = make("figure", "", answer);
    const image = make("img", "", figure);
    image.src = one.uri;
    image.alt = one.alt;
    make("figcaption", one.caption, figure);
  }
};
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const files = document.getElementById("files").files;
  const button = document.getElementById("read");
  answer.replaceChildren();
  said.className = "";
  button.disabled = true;
  try {
    const upload = await (await post("new")).text();
    for (let i = 0; i < files.length; i++) {
      said.textContent = "Reading file " + (i + 1) + " of " + files.length + " …";
      await post(upload + "/file", { body: files[i], headers: { "X-Name": encodeURIComponent(files[i].name) } });
    }
    said.textContent = "Looking at the images …";
    show(await (await post(upload + "/read")).json());
    said.textContent = "Done. The files are removed; this page is all there is.";
  } catch (error) {
    said.textContent = error.message;
    said.className = "bad";
  } finally {
    button.disabled = false;
  }
});
