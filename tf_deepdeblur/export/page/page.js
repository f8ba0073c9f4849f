// The page: the list of photos, the one that is shown, and what can be done with it.

import { Comparison } from "./compare.js";
import { Restorer } from "./restorer.js";

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));
element.unstarted.remove();
const comparison = new Comparison(element.stage);
const asked = new URLSearchParams(location.search).get("accelerator"); // "cpu" or "gpu"; otherwise what suits
const restorer = new Restorer({ gpu: asked !== "cpu", software: asked === "gpu" });
const photos = new Map();
let shown = null; // id of a photo
let count = 0;

function add(files) {
  const added = Array.from(files, (file) => {
    const photo = { id: String(++count), file, name: file.name || "photo", url: URL.createObjectURL(file), state: "waiting" };
    photos.set(photo.id, photo);
    element.photos.append(listed(photo));
    restorer.restore(photo.id, file);
    return photo;
  });
  if (!added.length) return;
  document.body.classList.add("busy");
  show(added[0].id);
}

/** The entry of a photo in the list. */
function listed(photo) {
  const picture = Object.assign(new Image(), { src: photo.url, alt: "" });
  picture.onerror = () => picture.remove();
  photo.mark = Object.assign(document.createElement("span"), { className: "mark" });
  photo.button = Object.assign(document.createElement("button"), { type: "button", title: photo.name });
  photo.button.append(picture, photo.mark);
  photo.button.onclick = () => show(photo.id);
  const item = document.createElement("li");
  item.append(photo.button);
  return item;
}

function show(id) {
  shown = id;
  const photo = photos.get(id);
  element.photos.hidden = photos.size < 2;
  element.viewer.hidden = false;
  comparison.show(photo.url, photo.restored);
  element.zoom.setAttribute("aria-pressed", false);
  refresh(photo);
}

const SENTENCES = {
  waiting: () => "waiting",
  working: (photo) => `${Math.floor(photo.share * 100)} %${timeLeft(photo)}`,
  restored: (photo) => `${photo.width} × ${photo.height} pixels, restored in ${duration(photo.seconds)}`,
  stopped: () => "stopped",
  failed: (photo) => photo.reason,
};
const MARKS = { waiting: "waits", working: "", restored: "done", stopped: "stopped", failed: "failed" };

/** Shows the state of a photo in the list and, if it is the one that is shown, above it. */
function refresh(photo) {
  const { state } = photo;
  photo.mark.textContent = state === "working" ? `${Math.floor(photo.share * 100)} %` : MARKS[state];
  photo.button.classList.toggle("failed", state === "failed");
  photo.button.setAttribute("aria-label", `${photo.name}: ${SENTENCES[state](photo)}`);
  photo.button.setAttribute("aria-current", photo.id === shown);
  for (const other of photos.values()) if (other !== photo && photo.id === shown) other.button.removeAttribute("aria-current");
  if (photo.id !== shown) return;
  element.name.textContent = photo.name;
  element.state.textContent = SENTENCES[state](photo);
  element.state.classList.toggle("error", state === "failed");
  element.stage.hidden = state === "failed";
  element.working.hidden = !["waiting", "working"].includes(state);
  element.actions.hidden = state !== "restored";
  element.progress.value = photo.share ?? 0;
}

/** Says something, also to screen readers. */
function say(sentence, isError = false) {
  element.message.textContent = sentence;
  element.message.classList.toggle("error", isError);
}

function timeLeft({ share, since }) {
  const seconds = (performance.now() - since) / 1000;
  return seconds < 2 || share < 0.03 ? "" : `, about ${duration((seconds * (1 - share)) / share)} left`;
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 100 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

function change(type, update) {
  restorer.addEventListener(type, ({ detail }) => {
    const photo = photos.get(detail.id);
    update(photo, detail);
    refresh(photo);
  });
}

change("progress", (photo, { share }) => {
  if (photo.state === "stopped") return;
  if (share === 0) photo.since = performance.now();
  Object.assign(photo, { state: "working", share });
});
change("stopped", (photo) => {
  photo.state = "stopped";
  say(`${photo.name}: stopped.`);
});
change("unusable", (photo, { reason }) => {
  Object.assign(photo, { state: "failed", reason });
  say(`${photo.name}: ${reason}`, true);
});
change("restored", (photo, { png, width, height, seconds }) => {
  Object.assign(photo, { state: "restored", png, width, height, seconds, restored: URL.createObjectURL(png) });
  say(`${photo.name}: restored in ${duration(seconds)}.`);
  if (photo.id === shown) comparison.show(photo.url, photo.restored);
});
restorer.addEventListener("broken", ({ detail }) => say(`The page cannot start: ${detail.reason}`, true));
restorer.addEventListener("ready", ({ detail }) => {
  document.documentElement.dataset.accelerator = detail.accelerator; // for whoever wonders, and for tests
  document.documentElement.dataset.threads = detail.threads;
});
restorer.addEventListener("jpeg", ({ detail }) => {
  element.jpeg.disabled = false;
  if (detail.jpeg) save(detail.jpeg, photos.get(detail.id), "jpg");
  else say(detail.reason, true);
});

/** Downloads a file under the photo's name. */
function save(blob, photo, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${photo.name.replace(/\.[^.]*$/, "")}-restored.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}

element.files.onchange = () => {
  add(element.files.files);
  element.files.value = ""; // so that the same photo can be chosen again
};
element.example.onclick = async () => {
  add([new File([await (await fetch("example/blurry.png")).blob()], "example.png")]);
};
element.stop.onclick = () => {
  restorer.stop(shown);
  Object.assign(photos.get(shown), { state: "stopped" });
  refresh(photos.get(shown));
};
element.png.onclick = () => save(photos.get(shown).png, photos.get(shown), "png");
element.jpeg.onclick = () => {
  element.jpeg.disabled = true;
  restorer.jpeg(shown, photos.get(shown).png);
};
element.zoom.onclick = async () => element.zoom.setAttribute("aria-pressed", await comparison.toggleActual());

// Photos may be dropped anywhere on the page. Without preventDefault the browser would open them instead.
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => add(event.clipboardData.files));
