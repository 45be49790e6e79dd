// Draws points on a canvas: by WebGL, else by the canvas's own means, which is slower.

const VERTEX = `
attribute vec2 place;
attribute vec4 colour;
uniform vec2 centre, scale;
uniform float size;
varying vec4 shade;
void main() {
  gl_Position = vec4((place - centre) * scale, 0.0, 1.0);
  gl_PointSize = size;
  shade = colour;
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 shade;
void main() {
  float away = length(gl_PointCoord - 0.5);
  if (away > 0.5) discard;
  gl_FragColor = vec4(shade.rgb * shade.a, shade.a);
}`;

// Both drawers have `how`, `set(places)` (float32 x, y), `paint(colours)` (a byte each of red, green, blue, alpha) and
// `draw({ x, y, scale, size })`: the centre in the map's units, pixels a unit, and the pixels of a point.
export function drawer(canvas) {
  const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true, preserveDrawingBuffer: true });
  return gl ? byWebGL(canvas, gl) : byCanvas(canvas);
}

function byWebGL(canvas, gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const fill = (name, size, kind, normalised) => {
    const buffer = gl.createBuffer();
    const at = gl.getAttribLocation(program, name);
    return (data) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, kind, normalised, 0, 0);
    };
  };
  const places = fill("place", 2, gl.FLOAT, false);
  const colours = fill("colour", 4, gl.UNSIGNED_BYTE, true);
  let count = 0;
  return {
    how: "WebGL",
    set(data) {
      count = data.length / 2;
      places(data);
    },
    paint: colours,
    draw({ x, y, scale, size }) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(uniform("centre"), x, y);
      gl.uniform2f(uniform("scale"), (2 * scale) / canvas.width, (2 * scale) / canvas.height);
      gl.uniform1f(uniform("size"), size);
      gl.drawArrays(gl.POINTS, 0, count);
    },
  };
}

function byCanvas(canvas) {
  const context = canvas.getContext("2d");
  let places = new Float32Array();
  let colours = new Uint8Array();
  return {
    how: "the 2D canvas",
    set(data) {
      places = data;
    },
    paint(data) {
      colours = data;
    },
    draw({ x, y, scale, size }) {
      context.clearRect(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < places.length / 2; i++) {
        const [red, green, blue, alpha] = colours.subarray(4 * i, 4 * i + 4);
        context.fillStyle = `rgb(${red} ${green} ${blue} / ${alpha / 255})`;
        context.fillRect((places[2 * i] - x) * scale + canvas.width / 2 - size / 2,
          canvas.height / 2 - (places[2 * i + 1] - y) * scale - size / 2, size, size);
      }
    },
  };
}
