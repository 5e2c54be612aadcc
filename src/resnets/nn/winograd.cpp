// Winograd's convolution F(4×4, 3×3) in float32 (Lavin and Gray 2016, arXiv:1509.09308): a tile of
// 4×4 outputs takes 36 products instead of 144. What is here are the transforms around them; the
// products themselves are 36 matrix products, which a library computes.
//
// Pictures are N H W C, filters K 3 3 C, transformed ones 36 rows C, where a row is a tile (or a
// filter), counted along W, H, N. All channels of a pixel are next to each other, so a lane of a
// vector is a channel. Whatever a tile reads beyond the border is zero, and what it would write
// there is left out.

#include <cstddef>
#include <cstring>

namespace {

using Index = std::ptrdiff_t;

template <int Lanes>
struct Lane {
  typedef float Vector __attribute__((vector_size(Lanes * sizeof(float))));
};

// Copies, as pixels are not aligned as vectors are: their channels may be any number.
template <class V> V load(const float* at) {
  V value;
  std::memcpy(&value, at, sizeof(V));
  return value;
}
template <class V> void store(float* at, V value) { std::memcpy(at, &value, sizeof(V)); }

// One dimension of each transform: the matrix times a vector, whose elements are `s` and `t` apart.

struct Input {  // Bᵀ, 6 × 6
  static constexpr int from = 6, to = 6;
  template <class V> static void apply(const V* d, int s, V* o, int t) {
    const V d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    const V even = d4 - 4.f * d2, odd = d3 - 4.f * d1, near = d4 - d2, far = 2.f * (d3 - d1);
    o[0] = 4.f * d0 - 5.f * d2 + d4;
    o[t] = even + odd;
    o[2 * t] = even - odd;
    o[3 * t] = near + far;
    o[4 * t] = near - far;
    o[5 * t] = 4.f * d1 - 5.f * d3 + d5;
  }
};

struct Output {  // Aᵀ, 4 × 6
  static constexpr int from = 6, to = 4;
  template <class V> static void apply(const V* m, int s, V* o, int t) {
    const V p = m[s] + m[2 * s], q = m[s] - m[2 * s];
    const V r = m[3 * s] + m[4 * s], u = m[3 * s] - m[4 * s];
    o[0] = m[0] + p + r;
    o[t] = q + 2.f * u;
    o[2 * t] = p + 4.f * r;
    o[3 * t] = q + 8.f * u + m[5 * s];
  }
};

struct OutputGradient {  // A, 6 × 4
  static constexpr int from = 4, to = 6;
  template <class V> static void apply(const V* y, int s, V* o, int t) {
    const V p = y[0] + y[2 * s], q = y[s] + y[3 * s];
    const V r = y[0] + 4.f * y[2 * s], u = 2.f * y[s] + 8.f * y[3 * s];
    o[0] = y[0];
    o[t] = p + q;
    o[2 * t] = p - q;
    o[3 * t] = r + u;
    o[4 * t] = r - u;
    o[5 * t] = y[3 * s];
  }
};

struct Filter {  // G, 6 × 3
  static constexpr int from = 3, to = 6;
  template <class V> static void apply(const V* g, int s, V* o, int t) {
    const V g0 = g[0], g1 = g[s], g2 = g[2 * s];
    const V p = (g0 + g2) * (1.f / 6), q = g1 * (1.f / 6);
    const V r = g0 * (1.f / 24) + g2 * (1.f / 6), u = g1 * (1.f / 12);
    o[0] = g0 * 0.25f;
    o[t] = -p - q;
    o[2 * t] = q - p;
    o[3 * t] = r + u;
    o[4 * t] = r - u;
    o[5 * t] = g2;
  }
};

struct FilterGradient {  // Gᵀ, 3 × 6
  static constexpr int from = 6, to = 3;
  template <class V> static void apply(const V* m, int s, V* o, int t) {
    const V p = (m[s] + m[2 * s]) * (1.f / 6), q = (m[2 * s] - m[s]) * (1.f / 6);
    const V r = m[3 * s] + m[4 * s], u = m[3 * s] - m[4 * s];
    o[0] = 0.25f * m[0] - p + r * (1.f / 24);
    o[t] = q + u * (1.f / 12);
    o[2 * t] = r * (1.f / 6) - p + m[5 * s];
  }
};

// A grid of `from` × `from` points, of which those outside of `height` × `width` are zero, into
// `to` × `to` points, of which those outside are left out.
struct Grid {
  Index top, left, height, width, row, column;  // `row` and `column`: floats from one to the next
  bool has(int i, int j) const {
    return top + i >= 0 && top + i < height && left + j >= 0 && left + j < width;
  }
  bool whole(int size) const { return has(0, 0) && has(size - 1, size - 1); }
  Index at(int i, int j) const { return (top + i) * row + (left + j) * column; }
};

template <class Transform, int Lanes>
void transform(const float* in, const Grid& from, float* out, const Grid& to) {
  using V = typename Lane<Lanes>::Vector;
  constexpr int n = Transform::from, m = Transform::to;
  V d[n * n], half[m * n];
  if (from.whole(n)) {
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) d[i * n + j] = load<V>(in + from.at(i, j));
  } else {
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) d[i * n + j] = from.has(i, j) ? load<V>(in + from.at(i, j)) : V{};
  }
  for (int j = 0; j < n; j++) Transform::apply(d + j, n, half + j, n);
  const bool whole = to.whole(m);
  for (int i = 0; i < m; i++) {
    V line[m];
    Transform::apply(half + i * n, 1, line, 1);
    for (int j = 0; j < m; j++)
      if (whole || to.has(i, j)) store(out + to.at(i, j), line[j]);
  }
}

template <class Transform>
void all_channels(const float* in, const Grid& from, float* out, const Grid& to, Index channels) {
  Index c = 0;
  for (; c + 16 <= channels; c += 16) transform<Transform, 16>(in + c, from, out + c, to);
  for (; c + 8 <= channels; c += 8) transform<Transform, 8>(in + c, from, out + c, to);
  for (; c < channels; c++) transform<Transform, 1>(in + c, from, out + c, to);
}

// The 36 points of a row, each in a plane of its own.
Grid planes(Index plane, int size) { return {0, 0, size, size, size * plane, plane}; }

struct Pictures {
  Index count, height, width, channels, down, across;  // `down`, `across`: tiles
  Index rows() const { return count * down * across; }
};

// Pictures to rows (or back), a tile every four pixels, the first one `padding` before the border.
template <class Transform, bool Back>
void tiles(const float* in, float* out, const Pictures& p, Index padding, Index threads) {
  constexpr int size = Back ? Transform::from : Transform::to;
  const Grid points = planes(p.rows() * p.channels, size);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (Index line = 0; line < p.count * p.down; line++) {
    const Index picture = line / p.down * p.height * p.width * p.channels;
    for (Index tile = 0; tile < p.across; tile++) {
      const Index row = (line * p.across + tile) * p.channels;
      const Index top = line % p.down * 4 - padding, left = tile * 4 - padding;
      const Grid pixels{top, left, p.height, p.width, p.width * p.channels, p.channels};
      if constexpr (Back)
        all_channels<Transform>(in + row, points, out + picture, pixels, p.channels);
      else
        all_channels<Transform>(in + picture, pixels, out + row, points, p.channels);
    }
  }
}

template <class Transform, bool Back>
void filters(const float* in, float* out, Index count, Index channels, Index threads) {
  const Grid taps{0, 0, 3, 3, 3 * channels, channels};
  const Grid points = planes(count * channels, 6);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (Index k = 0; k < count; k++) {
    if constexpr (Back)
      all_channels<Transform>(in + k * channels, points, out + k * 9 * channels, taps, channels);
    else
      all_channels<Transform>(in + k * 9 * channels, taps, out + k * channels, points, channels);
  }
}

}  // namespace

extern "C" {

void transform_inputs(const float* in, float* out, Index count, Index height, Index width,
                      Index channels, Index down, Index across, Index padding, Index threads) {
  tiles<Input, false>(in, out, {count, height, width, channels, down, across}, padding, threads);
}

void transform_outputs(const float* in, float* out, Index count, Index height, Index width,
                       Index channels, Index down, Index across, Index padding, Index threads) {
  tiles<Output, true>(in, out, {count, height, width, channels, down, across}, padding, threads);
}

void transform_output_gradients(const float* in, float* out, Index count, Index height, Index width,
                                Index channels, Index down, Index across, Index padding, Index threads) {
  const Pictures pictures{count, height, width, channels, down, across};
  tiles<OutputGradient, false>(in, out, pictures, padding, threads);
}

void transform_filters(const float* in, float* out, Index count, Index channels, Index threads) {
  filters<Filter, false>(in, out, count, channels, threads);
}

void transform_filter_gradients(const float* in, float* out, Index count, Index channels,
                                Index threads) {
  filters<FilterGradient, true>(in, out, count, channels, threads);
}
}
