// Takes the fragments that the gate sends and puts them where they belong. Without it the page reloads itself.
const source = document.body.dataset.live;
if (source && window.EventSource) {
  const state = document.getElementById("connection");
  const stream = new EventSource(source);
  const say = (text) => {
    if (state && state.textContent !== text) state.textContent = text;
  };
  stream.addEventListener("open", () => say("live"));
  stream.addEventListener("error", () => say("connection lost, trying again"));
  stream.addEventListener("fragment", (event) => {
    const { id, html } = JSON.parse(event.data);
    const place = document.getElementById(id);
    if (!place) return;
    // Whoever stands on a link stays there.
    const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    place.innerHTML = html;
    if (focused) place.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    // A release that is over cannot be decided any more.
    const over = place.querySelector("[data-over]");
    if (over) document.getElementById("decide")?.setAttribute("hidden", "");
  });
  window.addEventListener("pagehide", () => stream.close());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}
