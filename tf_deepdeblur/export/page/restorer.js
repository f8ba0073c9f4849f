// Talks to the worker: one photo after the other, again with smaller tiles where memory does not suffice.

const SMALLEST_SIDE = 64;

export class Restorer extends EventTarget {
  /** @param {{gpu: boolean, software: boolean}} options see runtime.js */
  constructor(options) {
    super();
    this.options = options;
    this.jobs = new Map(); // id -> message to the worker, as long as there is no result
    this.stopped = new Set();
    this.#start({});
  }

  /** Restores a photo file; events "progress", "restored", "stopped" and "unusable" tell about `id`. */
  restore(id, file) {
    this.#ask({ type: "restore", id, file });
  }

  /** Makes a JPEG file of a restored photo; an event "jpeg" brings it. */
  jpeg(id, png) {
    this.#ask({ type: "jpeg", id, png });
  }

  /** Stops a photo after the tile that is being restored, or before its turn. */
  stop(id) {
    this.stopped.add(id);
    this.worker.postMessage({ type: "stop", id });
  }

  #ask(message) {
    this.jobs.set(message.id, message);
    if (!this.isBroken) this.worker.postMessage(message);
  }

  #start(changes) {
    Object.assign(this.options, changes);
    this.worker?.terminate(); // LiteRT's memory never shrinks: a new worker begins with an empty one
    this.worker = new Worker("worker.js");
    this.worker.onmessage = ({ data }) => this.#answer(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.#answer({ type: "memory", reason: event.message });
    };
    const stops = Array.from(this.stopped, (id) => ({ type: "stop", id }));
    for (const message of [...stops, { type: "start", ...this.options }, ...this.jobs.values()]) {
      this.worker.postMessage(message);
    }
  }

  #answer(data) {
    if (data.type === "memory") return this.#retry(data);
    if (data.type === "ready") Object.assign(this, { side: data.side, accelerator: data.accelerator });
    if (data.type === "broken") this.isBroken = true;
    if (["restored", "stopped", "unusable", "jpeg"].includes(data.type)) this.jobs.delete(data.id);
    return this.dispatchEvent(new CustomEvent(data.type, { detail: data }));
  }

  /** Memory did not suffice, or the GPU was lost: without the GPU, then with tiles of half the side. */
  #retry({ id, reason }) {
    console.info(`Again with less memory: ${reason}`);
    if (this.accelerator === "gpu") return this.#start({ gpu: false });
    const side = Math.floor(this.side / 4) * 2;
    if (side >= SMALLEST_SIDE) return this.#start({ side });
    this.jobs.delete(id);
    this.#start({});
    return this.dispatchEvent(
      new CustomEvent("unusable", { detail: { id, reason: "The memory of this device does not suffice for this photo." } }),
    );
  }
}
