// Photo files: what they are, whether they are complete, their pixels, and JPEG files of results.

import { Image } from "./tiling.js";

const STRIP = 2 ** 22; // pixels that are drawn at once: phones limit the size of a canvas, but not that of a photo
const HEAD = 32; // bytes that tell a file's kind
const JPEG_QUALITY = 0.95;

/** A file that cannot be restored; the message is a whole sentence for the visitor. */
export class UnusablePhoto extends Error {}

/**
 * The pixels of a photo file, turned as its EXIF orientation says, in sRGB; what is transparent becomes white.
 * @param {Blob} file
 * @returns {Promise<Image>} values 0 to 255 in a Uint8Array
 */
export async function readPhoto(file) {
  const bytes = new Uint8Array(await read(file));
  const kind = kindOf(bytes);
  if (!bytes.length) throw new UnusablePhoto("The file is empty.");
  if (!kind) throw new UnusablePhoto("This is not a picture: its content is of no picture format.");
  if (isCutOff(bytes, kind)) throw new UnusablePhoto(`The file is damaged: it ends in the middle of the ${kind} picture.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: `image/${kind.toLowerCase()}` }));
  } catch {
    throw new UnusablePhoto(
      kind === "HEIC" || kind === "TIFF"
        ? `This browser cannot open ${kind} pictures. Save it as JPEG or PNG first.`
        : `This browser cannot open this ${kind} picture: it is damaged, or too large for this device.`,
    );
  }
  try {
    return pixelsOf(bitmap);
  } catch (error) {
    throw new UnusablePhoto(`The photo is too large for this device (${bitmap.width} × ${bitmap.height} pixels).`, { cause: error });
  } finally {
    bitmap.close();
  }
}

/** A JPEG file of a PNG file that `encodePng` has made. */
export async function toJpeg(png) {
  const bitmap = await createImageBitmap(png);
  try {
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { alpha: true });
    context.drawImage(bitmap, 0, 0);
    // A canvas that is too large for the device stays empty without an error.
    const [, , , alpha] = context.getImageData(bitmap.width - 1, bitmap.height - 1, 1, 1).data;
    if (!alpha) throw new RangeError("The canvas is too large.");
    return await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
  } catch (error) {
    throw new UnusablePhoto("The photo is too large for this browser to make a JPEG of it. Save it as PNG.", { cause: error });
  } finally {
    bitmap.close();
  }
}

async function read(file) {
  try {
    return await file.arrayBuffer();
  } catch (error) {
    throw new UnusablePhoto("The file cannot be read. It may have been moved, or be a folder.", { cause: error });
  }
}

function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const image = new Image(height, width, new Uint8Array(height * width * 3));
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += rows) {
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const { data } = context.getImageData(0, 0, width, Math.min(rows, height - top));
    for (let from = 0, to = top * width * 3; from < data.length; from += 4) {
      image.data[to++] = data[from];
      image.data[to++] = data[from + 1];
      image.data[to++] = data[from + 2];
    }
  }
  return image;
}

/** The format that a file's first bytes name, or undefined. */
function kindOf(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, HEAD));
  if (head.startsWith("\xff\xd8\xff")) return "JPEG";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (head.startsWith("GIF8")) return "GIF";
  if (head.startsWith("BM")) return "BMP";
  if (/^RIFF....WEBP/s.test(head)) return "WebP";
  if (/^(II\*\0|MM\0\*)/.test(head)) return "TIFF";
  if (/^....ftyp(avif|avis)/s.test(head)) return "AVIF";
  if (/^....ftyp(hei|hev|mif1|msf1)/s.test(head)) return "HEIC";
  return undefined;
}

/** Whether a file lacks its end, which browsers hide: they show grey where a JPEG file breaks off. */
function isCutOff(bytes, kind) {
  if (kind === "JPEG") return !endsJpeg(bytes);
  if (kind === "PNG") return !String.fromCharCode(...bytes.subarray(-(2 ** 12))).includes("IEND");
  if (kind === "WebP") return new DataView(bytes.buffer).getUint32(4, true) + 8 > bytes.length;
  return false;
}

/** Whether an end marker follows the last scan of a JPEG file; phones append other data behind it. */
function endsJpeg(bytes) {
  let position = 2;
  while (position + 4 <= bytes.length && bytes[position] === 0xff && bytes[position + 1] !== 0xda) {
    position += 2 + (bytes[position + 2] << 8) + bytes[position + 3]; // a thumbnail in a segment has an end marker, too
  }
  for (; position + 1 < bytes.length; position++) {
    if (bytes[position] === 0xff && bytes[position + 1] === 0xd9) return true;
  }
  return false;
}
