// LiteRT.js and the network's files.

import { Network } from "./network.js";
import { readPhoto } from "./photo.js";

const RUNTIME = new URL("./litert/", import.meta.url).href;
const MODEL = new URL("./model/", import.meta.url).href;
const EXAMPLE = new URL("./example/", import.meta.url).href;
const MAX_THREADS = 8;
const MEAN_DIFFERENCE = 0.5; // grey levels on the example; a GPU that goes wrong is off by far more
const MAX_DIFFERENCE = 16; // int8 values are rounded elsewhere on a GPU

const errors = []; // what LiteRT has complained about

/**
 * Loads everything, in a worker.
 * @param {boolean} useGpu whether to try WebGPU
 * @param {boolean} admitSoftware whether WebGPU may be a program on the CPU, which is slower than WebAssembly
 * @returns {Promise<{network: Network, model: object, accelerator: string}>}
 */
export async function load(useGpu, admitSoftware) {
  const model = await (await fetched(`${MODEL}model.json`)).json();
  const names = Object.keys(model.files);
  const contents = await Promise.all(names.map((name) => readSound(name, model.files[name].sha256)));
  const files = Object.fromEntries(names.map((name, i) => [name, contents[i]]));
  const litert = await import("./litert/index.js");
  const threads = await loadLiteRt(litert);
  const network = new Network(litert, model, files, errors, {
    accelerator: "wasm",
    cpuOptions: { numThreads: threads },
  });
  if (useGpu && litert.getWebGpuDevice() && (admitSoftware || (await isHardware()))) {
    const onGpu = new Network(litert, model, files, errors, {
      accelerator: "webgpu",
      gpuOptions: { precision: "fp32" },
    });
    if (await isRight(onGpu, model)) return { network: onGpu, model, accelerator: "gpu", threads };
  }
  return { network, model, accelerator: "cpu", threads };
}

/** Loads the WebAssembly with threads where the page is cross-origin isolated; returns the number of threads. */
async function loadLiteRt(litert) {
  for (const threads of self.crossOriginIsolated ? [true, false] : [false]) {
    // What LiteRT.js's loader looks for; without these it searches its files beside the worker's.
    self.Module = { locateFile: (name) => RUNTIME + name, print: console.debug, printErr: log };
    if (threads) self.Module.mainScriptUrlOrBlob = `${RUNTIME}litert_wasm_threaded_internal.js`;
    try {
      const loaded = await litert.loadLiteRt(RUNTIME, { threads });
      return Math.min(loaded.liteRtWasm.getThreadCount(), navigator.hardwareConcurrency ?? 1, MAX_THREADS);
    } catch (error) {
      if (!threads) throw error; // an old browser has threads, but lacks instructions that LiteRT.js needs with them
    }
  }
}

/** LiteRT writes whatever it has to tell to stderr; the network looks for its errors there. */
function log(line) {
  if (line.startsWith("ERROR")) errors.push(line);
  console.debug(line);
}

async function isHardware() {
  const adapter = await navigator.gpu.requestAdapter();
  return adapter !== null && !adapter.info?.isFallbackAdapter && !adapter.isFallbackAdapter;
}

/** Whether a network gives the pixels of the example that Python has restored. */
async function isRight(network, model) {
  try {
    const [blurry, expected] = await Promise.all(
      ["blurry.png", "restored.png"].map(async (name) => readPhoto(await (await fetched(EXAMPLE + name)).blob())),
    );
    const restored = await network.restore(blurry, model.tile, async () => {});
    let [sum, largest] = [0, 0];
    restored.data.forEach((value, i) => {
      const difference = Math.abs(value - expected.data[i]);
      sum += difference;
      largest = Math.max(largest, difference);
    });
    return sum / restored.data.length <= MEAN_DIFFERENCE && largest <= MAX_DIFFERENCE;
  } catch (error) {
    console.info(`WebGPU is not used: ${error.message}`);
    return false;
  }
}

async function readSound(name, sha256) {
  const bytes = new Uint8Array(await (await fetched(MODEL + name)).arrayBuffer());
  // Browsers compute digests on https and on localhost alone.
  if (self.crypto?.subtle) {
    const digest = new Uint8Array(await self.crypto.subtle.digest("SHA-256", bytes));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== sha256) throw new Error(`${name} is not the file that model.json was written for`);
  }
  return bytes;
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing (${response.status})`);
  return response;
}
