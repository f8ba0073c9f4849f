// Which pixels each tile restores and which it has to see: whole numbers only, one axis at a time.
//
// A network that sees `halo` pixels around a pixel gives the same values on a part of an image as on the whole of it, if
// the part goes `halo` beyond what is kept, or ends where the image ends: the network's zero padding is the real one there.

/**
 * The tiles of one axis, from first to last. All windows are of the same length, so that one compiled network fits all.
 * @param {number} length of the axis in pixels
 * @param {number} side how many pixels a tile restores at most, even
 * @param {number} halo how far the network sees, even
 * @returns {{start: number, stop: number, low: number, high: number}[]} kept from start to stop, seen from low to high
 */
export function spans(length, side, halo) {
  const count = Math.ceil(length / side);
  const step = even(Math.ceil(length / count));
  const seen = Math.min(length, step + 2 * halo);
  const found = [];
  for (let start = 0; start < length; start += step) {
    const low = Math.min(Math.max(0, start - halo), length - seen);
    found.push({ start, stop: Math.min(start + step, length), low, high: low + seen });
  }
  return found;
}

/** The tiles of an image, row by row. */
export function tiles(height, width, side, halo) {
  return spans(height, side, halo).flatMap((rows) => spans(width, side, halo).map((columns) => ({ rows, columns })));
}

/** The smallest even number that is not below `number`. */
export function even(number) {
  return number + (number % 2);
}

/** An image of 3 channels: `data` holds height * width * 3 values, row by row. */
export class Image {
  constructor(height, width, data) {
    Object.assign(this, { height, width, data });
  }

  /** The pixels of some rows and columns, which may lie outside of the image, where values are 0. */
  window(rows, columns) {
    const [height, width] = [rows.high - rows.low, columns.high - columns.low];
    const cut = new Image(height, width, new this.data.constructor(height * width * 3));
    const [left, right] = [Math.max(0, columns.low), Math.min(this.width, columns.high)];
    for (let row = Math.max(0, rows.low); row < Math.min(this.height, rows.high); row++) {
      const line = this.data.subarray((row * this.width + left) * 3, (row * this.width + right) * 3);
      cut.data.set(line, ((row - rows.low) * width + left - columns.low) * 3);
    }
    return cut;
  }

  /** Copies what a tile keeps from the window that it saw. */
  paste(window, rows, columns) {
    for (let row = rows.start; row < rows.stop; row++) {
      const from = ((row - rows.low) * window.width + columns.start - columns.low) * 3;
      const line = window.data.subarray(from, from + (columns.stop - columns.start) * 3);
      this.data.set(line, (row * this.width + columns.start) * 3);
    }
  }

  /** The image with its last row and column repeated until it has the given size, or cut to it. */
  resized(height, width) {
    if (height === this.height && width === this.width) return this;
    const image = new Image(height, width, new this.data.constructor(height * width * 3));
    for (let row = 0; row < height; row++) {
      const from = Math.min(row, this.height - 1) * this.width * 3;
      const copied = Math.min(width, this.width) * 3;
      image.data.set(this.data.subarray(from, from + copied), row * width * 3);
      const last = this.data.subarray(from + copied - 3, from + copied);
      for (let column = this.width; column < width; column++) image.data.set(last, (row * width + column) * 3);
    }
    return image;
  }
}
