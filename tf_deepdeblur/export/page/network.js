// Restores an image of any size: scale by scale, coarsest first, each tile by tile, as TiledGenerator does in Python.
// What passes from a scale to the next is an image of 3 channels, so memory is bounded by the tile.

import { withShapes } from "./flatbuffer.js";
import { even, Image, tiles } from "./tiling.js";

const HALVING_TILE = 1024; // halving is one cheap step: larger tiles than the network's do no harm
const TO_FLOAT = Float32Array.from({ length: 256 }, (_, level) => Math.fround(level * Math.fround(1 / 255)) - 0.5);

/** LiteRT could not run the network, as a rule for lack of memory; smaller tiles may help. */
export class RunError extends Error {}

/** Somebody asked to stop. */
export class Stopped extends Error {}

export class Network {
  /**
   * @param {object} litert the module of LiteRT.js, loaded
   * @param {object} model what model.json says
   * @param {Object<string, Uint8Array>} files the .tflite files by name
   * @param {string[]} errors what LiteRT has written about errors; emptied here
   * @param {object} options of LiteRT.js's compilation, such as the accelerator
   */
  constructor(litert, model, files, errors, options) {
    Object.assign(this, { litert, model, files, errors, options });
    this.compiled = null; // one at a time; a scale's tiles all have the same size
  }

  /**
   * @param {Image} image values 0 to 255 in a Uint8Array
   * @param {number} side of the tiles in pixels, even
   * @param {(share: number) => Promise} report awaited after every tile, may throw Stopped
   * @returns {Promise<Image>} of the same size
   */
  async restore(image, side, report) {
    const { num_scales: scales, multiple, smallest_side: smallest } = this.model;
    const [height, width] = [image.height, image.width].map((length) =>
      Math.max(Math.ceil(length / multiple) * multiple, smallest),
    );
    const pyramid = [image.resized(height, width)];
    try {
      while (pyramid.length < scales) pyramid.push(await this.#halved(pyramid.at(-1), () => report(0)));
      const area = (level) => level.height * level.width;
      const total = pyramid.reduce((sum, level) => sum + area(level), 0);
      let [restored, done] = [null, 0];
      for (let k = scales - 1; k >= 0; k--) {
        const blurry = pyramid.pop();
        restored = await this.#restoredScale(k, blurry, restored, side, (kept) => report((done + kept) / total));
        done += area(blurry);
      }
      return restored.resized(image.height, image.width);
    } finally {
      this.#release();
    }
  }

  /** The next level of the Gaussian pyramid. */
  async #halved(image, report) {
    const halved = new Image(image.height / 2, image.width / 2, new Float32Array((image.data.length / 4) | 0));
    for (const { rows, columns } of tiles(image.height, image.width, HALVING_TILE, this.model.pyramid_halo)) {
      const window = asFloat(image.window(rows, columns));
      const [height, width] = [window.height / 2, window.width / 2];
      halved.paste(await this.#run("halve.tflite", { image: window }, "halved", height, width), half(rows), half(columns));
      await report();
    }
    return halved;
  }

  /** Level k of the pyramid, restored: integers at level 0, otherwise floats as the next level takes them. */
  async #restoredScale(k, blurry, coarse, side, report) {
    const restored = new Image(blurry.height, blurry.width, new blurry.data.constructor(blurry.data.length));
    let kept = 0;
    for (const { rows, columns } of tiles(blurry.height, blurry.width, even(side), this.model.halo)) {
      const inputs = { blurry: blurry.window(rows, columns) };
      if (coarse) inputs.coarse = coarse.window(...[rows, columns].map((span) => this.#under(span)));
      const { height, width } = inputs.blurry;
      restored.paste(await this.#run(`scale_${k}.tflite`, inputs, "restored", height, width), rows, columns);
      kept += (rows.stop - rows.start) * (columns.stop - columns.start);
      await report(kept);
    }
    return restored;
  }

  /** The part of the coarser level that an up-convolution to what a tile sees has to see. */
  #under(span) {
    const margin = this.model.coarse_margin;
    return { low: span.low / 2 - margin, high: span.high / 2 + margin };
  }

  async #run(name, inputs, output, height, width) {
    const compiled = await this.#compile(name, inputs, output, height, width);
    const result = await this.#call(compiled, inputs, output);
    // Without memory for its buffers LiteRT.js gives zeros, or what lay there, in place of an exception. As a rule it
    // writes an error. Zeros may also be right, in a black part of a photo, but hardly for grey, too.
    if (result.every((value) => value === 0)) {
      const grey = Object.fromEntries(Object.entries(inputs).map(([key, image]) => [key, filled(image)]));
      const answer = await this.#call(compiled, grey, output);
      if (answer.every((value) => value === 0)) throw new RunError("LiteRT returns nothing but zeros.");
    }
    return new Image(height, width, result);
  }

  async #call(compiled, inputs, output) {
    const tensors = {};
    let results = {};
    try {
      return await this.#checked(async () => {
        for (const [key, image] of Object.entries(inputs)) tensors[key] = new this.litert.Tensor(image.data, shapeOf(image));
        results = await compiled.run(tensors);
        return results[output].data();
      });
    } finally {
      for (const tensor of [...Object.values(tensors), ...Object.values(results)]) tensor.delete();
    }
  }

  async #compile(name, inputs, output, height, width) {
    const shapes = Object.fromEntries(Object.entries(inputs).map(([key, image]) => [key, shapeOf(image)]));
    const key = JSON.stringify([name, shapes]);
    if (this.compiled?.key !== key) {
      this.#release();
      const bytes = withShapes(this.files[name], { ...shapes, [output]: [1, height, width, 3] });
      await this.#checked(async () => {
        this.compiled = { key, network: await this.litert.loadAndCompile(bytes, this.options) };
      });
      if (this.options.accelerator === "webgpu" && !this.compiled.network.isFullyAccelerated) {
        throw new RunError(`${name} would run on the GPU only in part, which is slower than not at all.`);
      }
    }
    return this.compiled.network;
  }

  /** The result of a call of LiteRT. The shapes fit and the files are sound, so what fails fails for lack of memory. */
  async #checked(call) {
    this.errors.length = 0;
    let result;
    try {
      result = await call();
    } catch (error) {
      throw new RunError(error.message, { cause: error });
    }
    if (this.errors.length) throw new RunError(this.errors[0]);
    return result;
  }

  #release() {
    this.compiled?.network.delete();
    this.compiled = null;
  }
}

function shapeOf(image) {
  return [1, image.height, image.width, 3];
}

function asFloat(image) {
  if (image.data instanceof Float32Array) return image;
  return new Image(image.height, image.width, Float32Array.from(image.data, (level) => TO_FLOAT[level]));
}

function filled(image) {
  return new Image(image.height, image.width, image.data.slice().fill(image.data instanceof Float32Array ? 0.1 : 150));
}

function half(span) {
  return { start: span.start / 2, stop: span.stop / 2, low: span.low / 2, high: span.high / 2 };
}
