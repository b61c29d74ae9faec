// Images (C, H, W) of numbers in [0, 1] on canvases, and back.

function paint(canvas, images, count = 1) {
  canvas.width = count * width;
  canvas.height = height;
  const picture = new ImageData(count * width, height);
  for (let tile = 0; tile < count; tile++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const from = tile * pixels + row * width + column;
        const to = 4 * (row * count * width + tile * width + column);
        for (let channel = 0; channel < 3; channel++) {
          const plane = channels === 3 ? channel : 0;
          picture.data[to + channel] = 255 * images[from + plane * height * width];
        }
        picture.data[to + 3] = 255;
      }
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// The pixels of what is on a canvas, black and white where the model's are.
function seen(canvas) {
  const rgba = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height).data;
  const image = new Float32Array(pixels);
  for (let place = 0; place < height * width; place++) {
    const [red, green, blue] = rgba.slice(4 * place, 4 * place + 3);
    const values = channels === 3 ? [red, green, blue] : [0.299 * red + 0.587 * green + 0.114 * blue];
    for (let channel = 0; channel < channels; channel++) {
      const value = Math.round(values[channel]) / 255;
      image[channel * height * width + place] = data.isBinary ? Number(value >= 0.5) : value;
    }
  }
  return image;
}

const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const colourOf = (label) => COLOURS[((label % 10) + 10) % 10];
