// Restores photos without keeping the page from answering.
//
// A classic worker, because LiteRT.js loads its WebAssembly with importScripts, which module workers do not have.
// From the page come {type: "start", side, gpu, software}, then {type: "restore", id, file}, {type: "jpeg", id, png} and
// {type: "stop", id}. Back go "ready" or "broken", "progress", "restored", "stopped", "unusable", "memory" and "jpeg".

const modules = {};
const stopped = new Set();
let queue = Promise.resolve(); // one thing at a time

self.onmessage = ({ data }) => {
  if (data.type === "stop") stopped.add(data.id);
  else queue = queue.then(() => ({ start, restore, jpeg })[data.type](data));
};

async function start({ side, gpu, software }) {
  try {
    for (const name of ["runtime", "network", "photo", "png"]) Object.assign(modules, await import(`./${name}.js`));
    Object.assign(modules, await modules.load(gpu, software));
    modules.side = side ?? modules.model.tile;
    const { accelerator, threads } = modules;
    self.postMessage({ type: "ready", side: modules.side, accelerator, threads });
  } catch (error) {
    self.postMessage({ type: "broken", reason: error.message });
  }
}

async function restore({ id, file }) {
  try {
    const begun = performance.now();
    await progress(id, 0);
    const image = await modules.readPhoto(file);
    const restored = await modules.network.restore(image, modules.side, (share) => progress(id, share));
    const png = await modules.encodePng(restored);
    const seconds = (performance.now() - begun) / 1000;
    self.postMessage({ type: "restored", id, png, width: image.width, height: image.height, seconds });
  } catch (error) {
    const type = { Stopped: "stopped", UnusablePhoto: "unusable" }[error.constructor.name] ?? "memory";
    self.postMessage({ type, id, reason: error.message });
  }
}

async function progress(id, share) {
  await new Promise((resolve) => setTimeout(resolve)); // lets the message to stop come in
  if (stopped.has(id)) throw new modules.Stopped();
  self.postMessage({ type: "progress", id, share });
}

async function jpeg({ id, png }) {
  try {
    self.postMessage({ type: "jpeg", id, jpeg: await modules.toJpeg(png) });
  } catch (error) {
    self.postMessage({ type: "jpeg", id, reason: error.message });
  }
}
