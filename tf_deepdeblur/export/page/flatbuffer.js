// Writes the size of an image into a .tflite file.
//
// LiteRT.js has no call that resizes a tensor: a file runs at the size that it states. The network's files leave height
// and width open, so the page writes those of its tiles into the inputs and outputs before it compiles a file.
// A .tflite file is a FlatBuffer: https://flatbuffers.dev/internals, schema.fbs of TensorFlow Lite.

const MODEL = { subgraphs: 2, signatures: 7 }; // numbers of the fields that are read here
const SUBGRAPH = { tensors: 0 };
const SIGNATURE = { inputs: 0, outputs: 1 };
const TENSOR_MAP = { name: 0, tensor: 1 };
const TENSOR = { shape: 0, shapeSignature: 7 };

/**
 * A copy of a .tflite file with other shapes.
 * @param {Uint8Array} file
 * @param {Object<string, number[]>} shapes of inputs and outputs by their names in the file's only signature
 * @returns {Uint8Array}
 */
export function withShapes(file, shapes) {
  const bytes = file.slice();
  const view = new DataView(bytes.buffer);
  const model = view.getUint32(0, true);
  const tensors = vector(view, vector(view, model, MODEL.subgraphs)[0], SUBGRAPH.tensors);
  const signature = vector(view, model, MODEL.signatures)[0];
  const named = [...vector(view, signature, SIGNATURE.inputs), ...vector(view, signature, SIGNATURE.outputs)];
  for (const entry of named) {
    const index = scalar(view, entry, TENSOR_MAP.tensor);
    const shape = shapes[text(view, entry, TENSOR_MAP.name)];
    for (const name of [TENSOR.shape, TENSOR.shapeSignature]) {
      const start = pointer(view, tensors[index], name);
      if (!start || view.getUint32(start, true) !== shape.length) throw new Error("The network's file has no open size.");
      shape.forEach((side, axis) => view.setInt32(start + 4 + 4 * axis, side, true));
    }
  }
  return bytes;
}

/** Where a field of a table stands; 0 if the table lacks it. */
function field(view, table, number) {
  const vtable = table - view.getInt32(table, true);
  const entry = 4 + 2 * number;
  const offset = entry < view.getUint16(vtable, true) ? view.getUint16(vtable + entry, true) : 0;
  return offset && table + offset;
}

/** Where the vector, string or table stands that a field points to; 0 if the table lacks it. */
function pointer(view, table, number) {
  const position = field(view, table, number);
  return position && position + view.getUint32(position, true);
}

function scalar(view, table, number) {
  const position = field(view, table, number);
  return position ? view.getUint32(position, true) : 0; // FlatBuffers leave out what has the default value
}

function text(view, table, number) {
  const start = pointer(view, table, number);
  return new TextDecoder().decode(new Uint8Array(view.buffer, start + 4, view.getUint32(start, true)));
}

/** Where the tables of a vector stand. */
function vector(view, table, number) {
  const start = pointer(view, table, number);
  const first = start + 4;
  return Array.from({ length: view.getUint32(start, true) }, (_, i) => first + 4 * i + view.getUint32(first + 4 * i, true));
}
