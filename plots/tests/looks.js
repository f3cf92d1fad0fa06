// In the page that holds pages in frames: what is wrong with each, as JSON.
"use strict";

function boxesOf(svg) {
  return [...svg.querySelectorAll("text")]
    .filter((text) => text.getClientRects().length && text.textContent)
    .map((text) => ({ text: text.textContent,
                      box: text.getBoundingClientRect() }));
}

function meet(a, b) {
  const slack = 1.5;     // pixels: boxes are taller than what is written
  return a.left < b.right - slack && b.left < a.right - slack
    && a.top < b.bottom - slack && b.top < a.bottom - slack;
}

function pictureFaults(svg, where) {
  const found = [], frame = svg.getBoundingClientRect();
  const texts = boxesOf(svg);
  texts.forEach(({ text, box }, i) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
      found.push(`${where}: "${text}" is clipped`);
    }
    for (const other of texts.slice(i + 1)) {
      if (meet(box, other.box)) {
        found.push(`${where}: "${text}" lies on "${other.text}"`);
      }
    }
  });
  return found;
}

function pageFaults(doc, name) {
  const found = [], root = doc.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    found.push(`${name}: ${root.scrollWidth} pixels wide`);
  }
  for (const svg of doc.querySelectorAll("figure svg")) {
    if (svg.getClientRects().length) {
      const id = svg.closest("figure").id;
      found.push(...pictureFaults(svg, `${name} #${id}`));
      if (!svg.getAttribute("aria-label")) {
        found.push(`${name} #${id}: no label`);
      }
    }
  }
  const plain = "h1, h2, h3, p, li, dd, summary, .legend button, nav a";
  for (const each of doc.querySelectorAll(plain)) {
    if (each.scrollWidth > each.clientWidth + 1 && each.clientWidth) {
      found.push(`${name}: "${each.textContent.slice(0, 40)}" is cut`);
    }
  }
  return found;
}

// What a reader does: hides a server, walks through a picture's marks.
function useFaults(frame, name) {
  const doc = frame.contentDocument, found = [];
  const button = doc.querySelector(".legend button");
  if (button) {
    const mine = [...doc.querySelectorAll("figure [data-server=stage1]")]
      .find((each) => each.getClientRects().length);
    const shown = () => mine.getClientRects().length > 0;
    button.click();
    if (shown() || button.getAttribute("aria-pressed") === "true") {
      found.push(`${name}: the button hides nothing`);
    }
    button.click();
    if (!shown()) {
      found.push(`${name}: the button brings nothing back`);
    }
  }
  const picture = [...doc.querySelectorAll("figure svg")].find(
    (svg) => svg.getClientRects().length && svg.querySelector(".mark"));
  const tip = doc.getElementById("tip"), seen = [];
  for (let i = 0; i < 2; i++) {
    picture.dispatchEvent(new frame.contentWindow.KeyboardEvent(
      "keydown", { key: "ArrowRight", bubbles: true }));
    seen.push(tip.hidden ? "" : tip.textContent);
  }
  if (!seen[0] || seen[0] === seen[1]) {
    found.push(`${name}: the arrow keys tell nothing: ${seen}`);
  }
  const box = tip.getBoundingClientRect();
  if (box.left < 0 || box.right > doc.documentElement.clientWidth) {
    found.push(`${name}: the tip leaves the page`);
  }
  return found;
}

window.addEventListener("load", () => {
  const faults = [];
  let pictures = 0, texts = 0;
  for (const frame of document.querySelectorAll("iframe")) {
    const doc = frame.contentDocument;
    faults.push(...pageFaults(doc, frame.title),
                ...useFaults(frame, frame.title));
    const wanted = frame.contentWindow.performance.getEntriesByType(
      "resource");
    faults.push(...wanted.map((r) => `${frame.title}: asks for ${r.name}`));
    pictures += doc.querySelectorAll("figure svg").length;
    texts += doc.querySelectorAll("figure svg text").length;
  }
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent =
    JSON.stringify({ faults, pictures, texts });
});
