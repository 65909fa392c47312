//! What the key light does not reach: the figure's solids as the light sees them.

use crate::figure::flesh::Solid;
use crate::figure::vec3::{V3, cross, dot, unit};

/// Direction towards the key light: above, left of and behind the camera. Not yet unit length.
const TOWARDS_LIGHT: V3 = [-0.42, -0.86, -0.46];
/// Cells across and along the light's view.
const SIZE: usize = 128;
/// Metres per cell.
const CELL: f32 = 0.020;

/// Cells across and along one block of the coarse map.
const BLOCK: usize = 8;
/// Blocks across and along the light's view.
const BLOCKS: usize = SIZE / BLOCK;

/// Depths along the light, around the figure.
pub struct Shadow {
    depth: Vec<f32>,
    /// Whether a block or one of its neighbours holds any flesh: most of the room is settled by one
    /// look here.
    near: Vec<bool>,
    /// Rows: right and down in the light's view, and away from the light.
    axes: [[f32; 3]; 3],
    centre: [f32; 2],
}

fn single(v: V3) -> [f32; 3] {
    v.map(|x| x as f32)
}

fn dot32(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

impl Default for Shadow {
    fn default() -> Self {
        let away = unit(TOWARDS_LIGHT.map(|x| -x));
        let right = unit(cross([0.0, 0.0, 1.0], away));
        let down = cross(away, right);
        debug_assert!(dot(right, away).abs() < 1e-9);
        Self {
            depth: vec![f32::INFINITY; SIZE * SIZE],
            near: vec![false; BLOCKS * BLOCKS],
            axes: [right, down, away].map(single),
            centre: [0.0; 2],
        }
    }
}

impl Shadow {
    /// Unit direction towards the light.
    pub fn towards_light(&self) -> [f32; 3] {
        self.axes[2].map(|x| -x)
    }

    /// Casts the solids; `about` is the middle of the figure.
    pub fn cast(&mut self, solids: &[Solid], about: [f32; 3]) {
        self.depth.fill(f32::INFINITY);
        self.near.fill(false);
        self.centre = [dot32(self.axes[0], about), dot32(self.axes[1], about)];
        for solid in solids {
            let ends = solid.ends.map(|e| self.cell(e));
            let reach = solid.reach.map(|r| r / CELL + 1.0);
            let low =
                |i: usize| (ends[0][i] - reach[0]).min(ends[1][i] - reach[1]).max(0.0) as usize;
            let high = |i: usize| {
                let most = (ends[0][i] + reach[0]).max(ends[1][i] + reach[1]);
                (most.max(0.0) as usize + 1).min(SIZE)
            };
            let direction = solid.local(self.axes[2]);
            for j in low(1)..high(1) {
                for i in low(0)..high(0) {
                    // From 10 m towards the light.
                    let across = self.centre[0] + (i as f32 + 0.5 - SIZE as f32 / 2.0) * CELL;
                    let along = self.centre[1] + (j as f32 + 0.5 - SIZE as f32 / 2.0) * CELL;
                    let from: [f32; 3] = std::array::from_fn(|c| {
                        across * self.axes[0][c] + along * self.axes[1][c]
                            - 10.0 * self.axes[2][c]
                            - solid.ends[0][c]
                    });
                    if let Some(hit) = solid.hit(solid.local(from), direction) {
                        let cell = &mut self.depth[j * SIZE + i];
                        *cell = cell.min(hit.t - 10.0);
                        self.mark(i / BLOCK, j / BLOCK);
                    }
                }
            }
        }
    }

    /// Marks a block and its neighbours as near to flesh.
    fn mark(&mut self, i: usize, j: usize) {
        for row in j.saturating_sub(1)..(j + 2).min(BLOCKS) {
            let at = row * BLOCKS;
            self.near[at + i.saturating_sub(1)..at + (i + 2).min(BLOCKS)].fill(true);
        }
    }

    /// Cell coordinates of a point.
    fn cell(&self, p: [f32; 3]) -> [f32; 2] {
        std::array::from_fn(|i| {
            (dot32(self.axes[i], p) - self.centre[i]) / CELL + SIZE as f32 / 2.0
        })
    }

    /// Where on the floor at height `floor` the shadow of `p` falls.
    pub fn on_floor(&self, p: [f32; 3], floor: f32) -> [f32; 3] {
        let t = (floor - p[1]) / self.axes[2][1];
        std::array::from_fn(|i| p[i] + t * self.axes[2][i])
    }

    /// How much of the key light reaches `p`, 0..1: the share of the cells around it that see no
    /// flesh more than `bias` metres nearer to the light. `spread` in cells widens the penumbra.
    #[inline]
    pub fn light(&self, p: [f32; 3], bias: f32, spread: f32) -> f32 {
        let depth = dot32(self.axes[2], p) - bias;
        let [x, y] = self.cell(p);
        let (i, j) = (x.max(0.0) as usize / BLOCK, y.max(0.0) as usize / BLOCK);
        if i >= BLOCKS || j >= BLOCKS || !self.near[j * BLOCKS + i] {
            return 1.0;
        }
        let mut lit = 0.0;
        // Four taps, each weighed bilinearly between cell centres.
        for (dx, dy) in [(-1.0, -0.4), (0.4, -1.0), (1.0, 0.4), (-0.4, 1.0f32)] {
            let (fx, fy) = (x - 0.5 + dx * spread, y - 0.5 + dy * spread);
            if !(0.0..SIZE as f32 - 1.0).contains(&fx) || !(0.0..SIZE as f32 - 1.0).contains(&fy) {
                lit += 1.0;
                continue;
            }
            let (i, j) = (fx as usize, fy as usize);
            let (wx, wy) = (fx - i as f32, fy - j as f32);
            let at = |i: usize, j: usize| f32::from(self.depth[j * SIZE + i] > depth);
            let top = at(i, j) * (1.0 - wx) + at(i + 1, j) * wx;
            let bottom = at(i, j + 1) * (1.0 - wx) + at(i + 1, j + 1) * wx;
            lit += top * (1.0 - wy) + bottom * wy;
        }
        lit * 0.25
    }
}
