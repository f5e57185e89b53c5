"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { users, items, strategies } = data;
  const byId = new Map(users.map((user, place) => [user.id, place]));
  const who = document.getElementById("who");
  const profile = document.getElementById("profile");
  const list = document.getElementById("list");
  const told = document.getElementById("told");
  const usual = told.cloneNode(true);
  const SVG = "http://www.w3.org/2000/svg";
  let current = 0;

  // All text goes through text nodes: nothing from the data is ever read as markup.
  const el = (tag, className, ...children) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  };
  const svg = (tag, attributes, ...children) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const bar = (share, className) =>
    svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: className, "aria-hidden": "true" },
      svg("rect", { class: "track", width: 100, height: 10 }),
      svg("rect", { class: "fill", width: Math.max(2, 100 * share).toFixed(1), height: 10 }));
  const number = (value) => value.toLocaleString("en");

  const hue = (text) => {
    let hash = 7;
    for (const character of text) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
    return hash % 360;
  };
  const tile = (item) => {
    if (item.image) {
      const picture = el("img", "tile");
      picture.src = item.image;
      picture.alt = "";
      return picture;
    }
    const words = item.title.replace(/[^\p{L}\p{N} ]/gu, "").split(/\s+/).filter(Boolean);
    const named = words.filter((word) => /^\p{L}/u.test(word));
    const node = el("span", "tile", (named.length ? named : words).slice(0, 2).map((word) => [...word][0].toUpperCase()).join("") || "?");
    node.style.setProperty("--hue", hue(item.category || item.tags[0] || item.title));
    node.setAttribute("aria-hidden", "true");
    return node;
  };

  const chips = (heading, tags) => {
    if (!tags.length) return null;
    const most = Math.max(...tags.map(([, weight]) => weight)) || 1;
    const row = el("div", "chips", ...tags.map(([tag, weight]) => {
      const chip = el("span", "chip", tag);
      chip.style.setProperty("--weight", (weight / most).toFixed(2));
      chip.title = `weight ${weight}`;
      return chip;
    }));
    return el("div", "part", el("h3", "", heading), row);
  };

  const PIECES = {
    followed: (title) => ["→", `others chose it after “${title}”`],
    together: (title) => ["∞", `others chose it and “${title}”`],
    similar: (title) => ["≈", `has a tag of “${title}”`],
    interest: (_, tag) => ["♥", `interest: ${tag}`],
    segment: (_, tag) => ["◔", `popular with ${tag}`],
    everyone: () => ["★", "popular with everyone"],
  };
  const evidence = ([kind, item, tag, weight]) => {
    const [sign, text] = (PIECES[kind] || ((title) => ["·", title || tag || kind]))(item === null ? "" : items[item].title, tag);
    const node = el("li", "", el("i", "", sign), el("span", "", text), bar(Math.min(1, weight), "weight"));
    node.title = `${text}, strength ${weight}`;
    return node;
  };

  const card = (row, place) => {
    const item = items[row.item];
    const found = el("span", "found", strategies[row.strategy] || row.strategy);
    found.title = row.strategy;
    const strength = el("div", "strength", bar(0.04 + 0.96 * row.strength, "score"));
    strength.title = `score ${row.score}`;
    const body = el("div", "body",
      el("div", "top", el("span", "rank", String(place + 1)), found),
      el("h3", "", item.title),
      el("p", "category", item.category.split(" > ").slice(-2).join(" › ") || item.tags.join(" · ")),
      strength,
      el("p", "why", row.reason),
      row.evidence.length ? el("ul", "evidence", ...row.evidence.map(evidence)) : null,
      item.text ? el("details", "", el("summary", "", "About this item"), el("p", "", item.text),
        el("p", "fine", `${item.id} · ${number(item.events)} ${item.events === 1 ? "event" : "events"}`)) : null);
    return el("li", "card item", tile(item), body);
  };

  const show = (place) => {
    current = (place + users.length) % users.length;
    const user = users[current];
    who.value = user.id;
    told.replaceChildren(...[...usual.childNodes].map((node) => node.cloneNode(true)));
    const past = user.history.map((item) => el("li", "", items[item].title));
    const facts = [`${number(user.events)} ${user.events === 1 ? "event" : "events"}`, user.last ? `last on ${user.last}` : "", ...user.about];
    profile.replaceChildren(...[
      el("p", "eyebrow", user.cold ? "user without events" : "user"),
      el("h3", "name", user.id),
      el("p", "facts", facts.filter(Boolean).join(" · ")),
      user.taste ? el("p", "taste", user.taste) : null,
      chips(user.cold ? `Interests of the segment “${user.segment}”` : "Interests", user.interests),
      chips("Lately", user.cold ? [] : user.recent.slice(0, 5)),
      chips("Topics", user.topics),
      past.length ? el("div", "part", el("h3", "", "Newest choices"), el("ol", "past", ...past)) : null,
    ].filter(Boolean));
    list.replaceChildren(...user.list.map(card));
  };

  const ask = () => {
    const id = who.value.trim();
    if (byId.has(id)) return show(byId.get(id));
    told.textContent = `${id} is not on this page. On the command line: llmrec show user ${id}`;
  };

  const ids = document.getElementById("ids");
  ids.append(...users.map((user) => {
    const option = el("option");
    option.value = user.id;
    option.label = `${number(user.events)} events`;
    return option;
  }));
  who.addEventListener("change", ask);
  who.addEventListener("focus", () => who.select());
  document.querySelector(".picker").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  document.getElementById("before").addEventListener("click", () => show(current - 1));
  document.getElementById("after").addEventListener("click", () => show(current + 1));
  document.getElementById("any").addEventListener("click", () => show(Math.floor(Math.random() * users.length)));
  if (users.length) show(data.first);
})();
