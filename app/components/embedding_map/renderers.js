// Two ways to draw the points, with the same interface and the same picture: on the graphics card by WebGL2, and by hand
// into the pixels of a plain canvas, which is the faster one where there is no card.
//
//   new Renderer(canvas, xy)        positions in the order in which they are drawn, x and y by turns, float32; may throw
//   .colour(paper, palette)         red, green and blue, 0 to 255
//   .look(looks, counts)            of each point its colour and its level, uint8 by turns; how many points a level has
//   .draw(view, stamps, share)      view: x and y in the middle, pixels a unit; stamps: radius, alpha and radius of the halo
//                                   of each level; of the levels below the last only a share is drawn
//
// Milliseconds a frame in headless Chromium on two busy cores, where software emulates the card: WebGL 12, 100 and 700
// for 10,000, 100,000 and a million points, by hand 1, 4 and 40.

export const LEVELS = 4;
export const [DIMMED, FADED, PLAIN, CHOSEN] = [0, 1, 2, 3]; // drawn in this order
const TINT = [0.2, 0.4, 1, 1]; // by level: how much of its colour a point keeps; where many lie on each other, alpha dims nothing

const VERTEX = `#version 300 es
layout(location = 0) in vec2 position;
layout(location = 1) in uvec2 look;
uniform sampler2D palette;
uniform vec2 middle, size;
uniform float scale, extent;
uniform uint level;
flat out vec3 ink;
void main() {
  vec2 at = floor((position - middle) * vec2(scale, -scale) + size / 2.0) + 0.5;
  gl_Position = look.y == level ? vec4((at / size * 2.0 - 1.0) * vec2(1, -1), 0, 1) : vec4(2, 2, 2, 1);
  gl_PointSize = extent;
  ink = texelFetch(palette, ivec2(look.x, 0), 0).rgb;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform float extent, radius, halo, alpha, tint;
uniform vec3 paper;
flat in vec3 ink;
out vec4 color;
float disc(float from, float reach) { return clamp(reach + 0.5 - from, 0.0, 1.0); } // soft at the rim
void main() {
  float from = length((gl_PointCoord - 0.5) * extent);
  float covered = disc(from, radius) * alpha, around = halo > 0.0 ? disc(from, halo) : 0.0;
  color = vec4(mix(paper, ink, tint) * covered + paper * around * (1.0 - covered), covered + around * (1.0 - covered));
}`;

export class WebGLRenderer {
  static kind = "webgl";

  constructor(canvas, xy) {
    const options = { alpha: false, antialias: false, depth: false, stencil: false, powerPreference: "high-performance" };
    const gl = (this.gl = canvas.getContext("webgl2", options));
    if (!gl) throw new Error("no WebGL2");
    this.canvas = canvas;
    this.count = xy.length / 2;
    this.program = linkProgram(gl, VERTEX, FRAGMENT);
    gl.useProgram(this.program);
    this.at = new Proxy({}, { get: (found, name) => (found[name] ??= gl.getUniformLocation(this.program, name)) });
    this.looks = gl.createBuffer();
    gl.bindVertexArray(gl.createVertexArray());
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, xy, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.looks);
    gl.bufferData(gl.ARRAY_BUFFER, 2 * this.count, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 2, gl.UNSIGNED_BYTE, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** Name of the graphics card, or of the software that emulates one. */
  get device() {
    const { gl } = this,
      extension = gl.getExtension("WEBGL_debug_renderer_info");
    return String(gl.getParameter(extension ? extension.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  }

  colour(paper, palette) {
    const { gl } = this,
      texels = Uint8Array.from(palette.flatMap((color) => [...color, 255]));
    this.paper = paper.map((channel) => channel / 255);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, palette.length, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
  }

  look(looks, counts) {
    this.counts = counts;
    this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, looks);
  }

  draw(view, stamps, share) {
    const {
      gl,
      at,
      canvas: { width, height },
    } = this;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...this.paper, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform3f(at.paper, ...this.paper);
    gl.uniform2f(at.size, width, height);
    gl.uniform2f(at.middle, view.x, view.y);
    gl.uniform1f(at.scale, view.scale);
    for (let level = 0; level < LEVELS; level++) {
      if (!this.counts[level]) continue;
      const { radius, alpha, halo } = stamps[level];
      gl.uniform1ui(at.level, level);
      gl.uniform1f(at.extent, 2 * Math.ceil(Math.max(radius, halo)) + 1);
      gl.uniform1f(at.radius, radius);
      gl.uniform1f(at.halo, halo);
      gl.uniform1f(at.alpha, alpha);
      gl.uniform1f(at.tint, TINT[level]);
      gl.drawArrays(gl.POINTS, 0, level === CHOSEN ? this.count : Math.ceil(this.count * share));
    }
  }

  dispose() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function linkProgram(gl, ...sources) {
  const made = gl.createProgram();
  sources.forEach((source, i) => {
    const shader = gl.createShader([gl.VERTEX_SHADER, gl.FRAGMENT_SHADER][i]);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  });
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  return made;
}

export class CanvasRenderer {
  static kind = "canvas";

  constructor(canvas, xy) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    if (!this.context) throw new Error("no canvas");
    this.xy = xy;
    this.count = xy.length / 2;
    this.sorted = new Float32Array(xy.length);
    this.colors = new Uint8Array(this.count);
  }

  colour(paper, palette) {
    [this.paper, this.palette] = [paper, palette];
    this.printed = null;
  }

  /** Sorts the points by level, so that each level is drawn in one go. */
  look(looks, counts) {
    const { xy, sorted, colors, count } = this,
      next = new Uint32Array(LEVELS);
    this.counts = counts;
    for (let level = 1; level < LEVELS; level++) next[level] = next[level - 1] + counts[level - 1];
    for (let i = 0; i < count; i++) {
      const to = next[looks[2 * i + 1]]++;
      colors[to] = looks[2 * i];
      sorted[2 * to] = xy[2 * i];
      sorted[2 * to + 1] = xy[2 * i + 1];
    }
  }

  draw(view, stamps, share) {
    const {
      sorted,
      colors,
      counts,
      canvas: { width, height },
    } = this;
    const { image, pixels, stride, margin, discs, halos, inks } = this.sheet(stamps);
    const { scale } = view,
      left = width / 2 - view.x * scale + 2 * margin,
      top = height / 2 + view.y * scale + 2 * margin;
    const right = width + 3 * margin,
      bottom = height + 3 * margin; // a stamp in the middle of the margin is not seen
    pixels.fill(pack(this.paper) | 0xff000000);
    for (let level = 0, from = 0; level < LEVELS; from += counts[level++]) {
      const to = from + (level === CHOSEN ? counts[level] : Math.ceil(counts[level] * share));
      const disc = discs[level],
        halo = halos[level],
        ink = inks[level],
        paper = halo?.inks(this.paper);
      for (let i = from; i < to; i++) {
        const x = left + sorted[2 * i] * scale,
          y = top - sorted[2 * i + 1] * scale;
        if (!(x > margin && x < right && y > margin && y < bottom)) continue;
        const at = (y | 0) * stride + (x | 0);
        if (halo) imprint(pixels, at, halo, paper);
        imprint(pixels, at, disc, ink[colors[i]]);
      }
    }
    this.context.putImageData(image, -2 * margin, -2 * margin);
  }

  /** Pixels to print on, with a margin so that no point needs clipping, and the stamps in every colour. */
  sheet(stamps) {
    const {
        canvas: { width, height },
      } = this,
      wanted = JSON.stringify([width, height, stamps]);
    if (this.printed?.wanted === wanted) return this.printed;
    const margin = Math.max(...stamps.map(({ radius, halo }) => Math.ceil(Math.max(radius, halo)) + 1));
    const stride = width + 4 * margin;
    const fits = this.printed?.image.width === stride && this.printed.image.height === height + 4 * margin;
    const image = fits ? this.printed.image : new ImageData(stride, height + 4 * margin);
    const discs = stamps.map(({ radius, alpha }) => new Stamp(radius, alpha, stride));
    const halos = stamps.map(({ halo }) => (halo > 0 ? new Stamp(halo, 1, stride) : null));
    const inks = discs.map((disc, level) => this.palette.map((color) => disc.inks(mix(this.paper, color, TINT[level]))));
    return (this.printed = { wanted, image, pixels: new Uint32Array(image.data.buffer), stride, margin, discs, halos, inks });
  }

  dispose() {}
}

// Half down here and half up where it is added, so that no channel runs over.
const pack = (color, share = 256) => {
  const [r, g, b] = color.map((channel) => Math.ceil((channel * share) / 256 - 0.5));
  return (b << 16) | (g << 8) | r;
};

const mix = (paper, color, share) => color.map((channel, i) => paper[i] + (channel - paper[i]) * share);

/** A disc to print on pixels `stride` wide: which pixels it touches, and what it covers of them, of 256. */
class Stamp {
  constructor(radius, alpha, stride) {
    const reach = Math.ceil(radius),
      offsets = [];
    this.cover = [];
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const share = Math.min(Math.max(radius + 0.5 - Math.hypot(dx, dy), 0), 1); // soft at the rim
        const covered = Math.round(256 * share * alpha);
        if (!covered) continue;
        offsets.push(dy * stride + dx);
        this.cover.push(covered);
      }
    }
    this.offsets = Int32Array.from(offsets);
    this.keeps = Uint16Array.from(this.cover, (covered) => 256 - covered);
  }

  /** What a colour adds to each pixel. */
  inks(color) {
    return Uint32Array.from(this.cover, (covered) => pack(color, covered));
  }
}

/** Prints a stamp in an ink. */
function imprint(pixels, at, { offsets, keeps }, ink) {
  for (let k = 0; k < offsets.length; k++) {
    const pixel = at + offsets[k],
      below = pixels[pixel],
      keep = keeps[k];
    const redBlue = ((Math.imul(below & 0xff00ff, keep) + 0x800080) >>> 8) & 0xff00ff;
    const green = (((below >>> 8) & 0xff) * keep + 0x80) & 0xff00;
    pixels[pixel] = (ink[k] + (redBlue | green)) | 0xff000000;
  }
}
