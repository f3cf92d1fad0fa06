"use strict";
// Servers are switched on and off; marks are told to pointers and to keys.
(() => {
  const tip = document.getElementById("tip");

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", shown);
      document.body.classList.toggle("off-" + button.dataset.of, !shown);
    });
  }

  function show(mark) {
    const box = mark.getBoundingClientRect();
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    tip.style.left = Math.max(8, Math.min(left, room)) + "px";
    const above = box.top - tip.offsetHeight - 8;
    tip.style.top = (above > 0 ? above : box.bottom + 8) + "px";
  }

  function hide() {
    tip.hidden = true;
    for (const mark of document.querySelectorAll(".mark.on")) {
      mark.classList.remove("on");
    }
  }

  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest && event.target.closest(".mark");
    if (mark) {
      show(mark);
    } else {
      hide();
    }
  });
  document.addEventListener("scroll", hide, { passive: true });

  // With the keys: a picture is entered by Tab, its marks by the arrows.
  for (const picture of document.querySelectorAll("figure svg[tabindex]")) {
    let at = -1;
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1,
                     ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") {
        hide();
      }
      if (!step) {
        return;
      }
      event.preventDefault();
      const marks = [...picture.querySelectorAll(".mark")].filter(
        (mark) => mark.getClientRects().length);
      if (!marks.length) {
        return;
      }
      at = (at + step + marks.length) % marks.length;
      hide();
      marks[at].classList.add("on");
      show(marks[at]);
    });
    picture.addEventListener("blur", hide);
  }
})();
