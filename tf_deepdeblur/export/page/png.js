// Writes PNG files of any size. A canvas would limit their size (to 16 megapixels on iPhones), and privacy settings of
// some browsers change what is read from it.

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const ROWS_AT_ONCE = 64;
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

/**
 * @param {Image} image of 3 channels, values 0 to 255
 * @returns {Promise<Blob>}
 */
export async function encodePng(image) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, image.width);
  header.setUint32(4, image.height);
  header.setUint8(8, 8); // bits per channel
  header.setUint8(9, 2); // red, green and blue
  const parts = [SIGNATURE, ...chunk("IHDR", new Uint8Array(header.buffer)), ...chunk("sRGB", Uint8Array.of(0))];
  const compressor = new CompressionStream("deflate");
  const written = writeRows(image, compressor.writable.getWriter());
  for (const reader = compressor.readable.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(...chunk("IDAT", value));
  }
  await written;
  return new Blob([...parts, ...chunk("IEND", new Uint8Array())], { type: "image/png" });
}

/** Each row after the number of its filter: 2 stores the differences to the row above, which is 0 above the first. */
async function writeRows({ height, width, data }, writer) {
  const stride = width * 3;
  for (let top = 0; top < height; top += ROWS_AT_ONCE) {
    const bottom = Math.min(top + ROWS_AT_ONCE, height);
    const lines = new Uint8Array((bottom - top) * (stride + 1));
    let to = 0;
    for (let row = top; row < bottom; row++) {
      lines[to++] = 2;
      for (let i = row * stride; i < (row + 1) * stride; i++) lines[to++] = data[i] - (row ? data[i - stride] : 0);
    }
    await writer.write(lines);
  }
  await writer.close();
}

function chunk(type, data) {
  const [start, end] = [new Uint8Array(8), new Uint8Array(4)];
  new DataView(start.buffer).setUint32(0, data.length);
  start.set(new TextEncoder().encode(type), 4);
  let crc = 0xffffffff;
  for (const part of [start.subarray(4), data]) for (const byte of part) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  new DataView(end.buffer).setUint32(0, crc ^ 0xffffffff);
  return [start, data, end];
}
