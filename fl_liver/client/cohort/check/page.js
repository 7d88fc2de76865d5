"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll("article.case")];
  const earlier = [...document.querySelectorAll("input.earlier")];
  const cardOf = new Map(cards.map((card) => [card.dataset.case, card]));
  const earlierOf = new Map(earlier.map((box) => [box.dataset.case, box]));
  const key = "fl-liver check " + document.body.dataset.page;
  const part = (card, name) => card.querySelector(name);
  let marks = new Map(); // case -> {seen: digest of the sheet or "", out, reason}
  let others = new Map(); // imported cases that have no place on this page -> reason
  let here = null;

  // ---- what a person decided, kept in this browser ----
  const fresh = (card) => ({ seen: "", out: card.dataset.out === "yes", reason: card.dataset.reason });
  const markOf = (card) => marks.get(card.dataset.case) || fresh(card);
  const isSeen = (card) => markOf(card).seen === card.dataset.sheet;

  function load() {
    try {
      const stored = JSON.parse(localStorage.getItem(key) || "{}");
      marks = new Map(stored.marks || []);
      others = new Map(stored.others || []);
      for (const box of earlier) box.checked = !(stored.back || []).includes(box.dataset.case);
    } catch (error) {
      say("This browser keeps nothing between visits: export the list before you close the page.");
    }
  }

  function keep() {
    const back = earlier.filter((box) => !box.checked).map((box) => box.dataset.case);
    try {
      localStorage.setItem(key, JSON.stringify({ marks: [...marks], others: [...others], back }));
    } catch (error) {
      say("This browser keeps nothing between visits: export the list before you close the page.");
    }
  }

  function change(card, changes) {
    marks.set(card.dataset.case, { ...markOf(card), ...changes });
    keep();
    show(card);
    count();
  }

  // ---- what is shown ----
  function show(card) {
    const mark = markOf(card);
    card.classList.toggle("seen", isSeen(card));
    card.classList.toggle("out", mark.out);
    part(card, ".looked").checked = isSeen(card);
    part(card, ".changed").hidden = !mark.seen || isSeen(card);
    part(card, ".verdict-of").value = mark.out ? "out" : "keep";
    const reason = part(card, ".reason");
    reason.hidden = !mark.out;
    if (reason.value !== mark.reason) reason.value = mark.reason;
  }

  function count() {
    const seen = cards.filter(isSeen).length;
    const out = excluded().length;
    const shown = cards.filter((card) => !card.hidden).length;
    const parts = [`${seen} of ${cards.length} looked at`, `${out} to leave out`];
    if (shown < cards.length) parts.push(`${shown} shown`);
    byId("progress").textContent = parts.join(" · ");
    byId("done").value = seen;
  }

  function filter() {
    const which = byId("which").value, code = byId("code").value, name = byId("search").value.trim().toLowerCase();
    const wanted = {
      all: () => true,
      unseen: (card) => !isSeen(card),
      seen: isSeen,
      out: (card) => markOf(card).out,
      usable: (card) => card.dataset.usable === "yes",
      unusable: (card) => card.dataset.usable === "no",
    }[which];
    for (const card of cards) {
      const codes = card.dataset.codes.split(" ");
      const found = card.dataset.case.toLowerCase().includes(name) && (!code || codes.includes(code));
      card.hidden = !(found && wanted(card));
    }
    count();
  }

  function say(text) {
    byId("said").textContent = text;
  }

  function goTo(card) {
    if (!card) return;
    if (here) here.classList.remove("here");
    here = card;
    card.classList.add("here");
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "start" });
  }

  function neighbour(step) {
    const shown = cards.filter((card) => !card.hidden);
    const at = shown.indexOf(here);
    if (at >= 0) return shown[at + step];
    const below = shown.find((card) => card.getBoundingClientRect().bottom > byId("bar").offsetHeight + 40);
    return below || shown[0];
  }

  // ---- the list: case,reason ----
  function excluded() {
    const rows = [];
    for (const card of cards) if (markOf(card).out) rows.push([card.dataset.case, markOf(card).reason]);
    for (const box of earlier) if (box.checked) rows.push([box.dataset.case, box.dataset.reason]);
    for (const [name, reason] of others) rows.push([name, reason]);
    return rows;
  }

  // A cell that begins like a formula would run in a spreadsheet: an apostrophe before it keeps it text.
  const FORMULA = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/;
  function cell(text) {
    const line = String(text).replace(/[\u0000-\u001f\u007f]+/g, " ");
    const safe = FORMULA.test(line) ? "'" + line : line;
    return /[",;']|^\s|\s$/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  }

  function exported() {
    const lines = [["case", "reason"], ...excluded()].map((row) => row.map(cell).join(","));
    return "\ufeff" + lines.join("\r\n") + "\r\n";
  }

  function rowsOf(text) {
    const first = text.split(/\r?\n/, 1)[0];
    const comma = [",", ";", "\t"].sort((a, b) => first.split(b).length - first.split(a).length)[0];
    const rows = [[""]];
    let quoted = false;
    for (let i = 0; i < text.length; i += 1) {
      const row = rows[rows.length - 1], c = text[i];
      if (quoted) {
        if (c === '"' && text[i + 1] === '"') i += 1;
        else if (c === '"') { quoted = false; continue; }
        row[row.length - 1] += text[i];
      } else if (c === '"') quoted = true;
      else if (c === comma) row.push("");
      else if (c === "\n") rows.push([""]);
      else if (c !== "\r") row[row.length - 1] += c;
    }
    return rows.filter((row) => row.some((one) => one.trim()));
  }

  // A spreadsheet turns 4711e0123456 into a number; such a row would have the whole list refused.
  const PSEUDONYM = /^[0-9a-f]{12}$/;
  const plain = (text) => (/^'/.test(text) && FORMULA.test(text.slice(1)) ? text.slice(1) : text).trim();

  function take(text) {
    const [head = [], ...rows] = rowsOf(text.replace(/^\ufeff/, ""));
    const names = head.map((one) => one.trim().toLowerCase());
    const at = names.indexOf("case"), why = names.indexOf("reason");
    if (at < 0) return say("Not taken: wanted a CSV file with the columns case and reason.");
    let known = 0, unknown = 0, odd = 0;
    for (const row of rows) {
      const name = plain(row[at] || ""), reason = why < 0 ? "" : plain(row[why] || "").slice(0, 200);
      if (!name) continue;
      const card = cardOf.get(name), box = earlierOf.get(name);
      if (card) marks.set(name, { ...markOf(card), out: true, reason });
      else if (box) box.checked = true;
      else if (PSEUDONYM.test(name)) others.set(name, reason);
      if (card || box) known += 1;
      else if (PSEUDONYM.test(name)) unknown += 1;
      else odd += 1;
    }
    keep();
    cards.forEach(show);
    filter();
    const stay = unknown ? ` Not on this page, kept in the list: ${unknown}.` : "";
    const lost = odd ? ` Not a pseudonym, dropped: ${odd}.` : "";
    return say(`Taken from the list: ${known} to leave out.${stay}${lost}`);
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([exported()], { type: "text/csv;charset=utf-8" }));
    link.download = "exclude.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Exported ${excluded().length} to leave out. Put the file into the data folder as exclude.csv, then run the check again.`);
  }

  // ---- events ----
  function showOutlines(on) {
    document.body.classList.toggle("bare", !on);
    byId("outlines").checked = on;
  }

  const acts = {
    j: () => goTo(neighbour(1)),
    k: () => goTo(neighbour(-1)),
    x: () => here && change(here, { out: !markOf(here).out }),
    " ": () => here && change(here, { seen: isSeen(here) ? "" : here.dataset.sheet }),
    Enter: () => {
      if (!here) return;
      change(here, { seen: here.dataset.sheet });
      goTo(neighbour(1));
    },
    c: () => showOutlines(document.body.classList.contains("bare")),
    z: () => here && here.classList.toggle("large"),
  };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target;
    const typing = on.matches("select, textarea, input:not([type=checkbox])");
    if (typing && event.key === "Escape") on.blur();
    if (typing || (on.matches("button, a, summary, input") && [" ", "Enter"].includes(event.key))) return;
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    // Before a case is chosen, space and enter do what they always do.
    if (!act || (!here && [" ", "Enter"].includes(event.key))) return;
    event.preventDefault();
    act();
  }

  function changed(event) {
    const card = event.target.closest("article.case");
    if (!card) return;
    if (event.target.matches(".looked")) change(card, { seen: event.target.checked ? card.dataset.sheet : "" });
    if (event.target.matches(".verdict-of")) change(card, { out: event.target.value === "out" });
    if (event.target.matches(".reason")) change(card, { reason: event.target.value });
  }

  function start() {
    if (!byId("bar")) return;
    load();
    cards.forEach(show);
    count();
    document.addEventListener("keydown", pressed);
    // A case that is gone to must not be hidden by the bar, however many lines that has, nor by one more line later.
    let height = byId("bar").offsetHeight;
    new ResizeObserver(() => {
      const stays = here && Math.abs(here.getBoundingClientRect().top - height) < 40;
      height = byId("bar").offsetHeight;
      document.documentElement.style.setProperty("--bar", height + "px");
      if (stays) here.scrollIntoView({ block: "start" });
    }).observe(byId("bar"));
    byId("sheets").addEventListener("change", changed);
    byId("sheets").addEventListener("click", (event) => {
      const card = event.target.closest("article.case");
      if (!card) return;
      if (here) here.classList.remove("here");
      here = card;
      card.classList.add("here");
      if (event.target.closest(".picture")) card.classList.toggle("large");
    });
    for (const box of earlier) box.addEventListener("change", () => { keep(); count(); });
    for (const id of ["which", "code"]) byId(id).addEventListener("change", filter);
    byId("search").addEventListener("input", filter);
    byId("outlines").addEventListener("change", (event) => showOutlines(event.target.checked));
    byId("export").addEventListener("click", download);
    byId("open").addEventListener("click", () => byId("import").click());
    byId("import").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      if (file) take(await file.text());
      event.target.value = "";
    });
    for (const button of document.querySelectorAll("[data-show-code]")) {
      button.addEventListener("click", () => {
        byId("which").value = "all";
        byId("search").value = "";
        byId("code").value = button.dataset.showCode;
        filter();
        goTo(cards.find((card) => !card.hidden));
      });
    }
    window.addEventListener("hashchange", () => {
      const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (!card || !card.matches("article.case")) return;
      if (card.hidden) {
        for (const id of ["code", "search"]) byId(id).value = "";
        byId("which").value = "all";
        filter();
      }
      goTo(card);
    });
    window.addEventListener("storage", (event) => {
      if (event.key !== key) return;
      load();
      cards.forEach(show);
      count();
    });
    window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  }

  start();
})();
