"""The kernel of `warp_engine`: a ray's way from the camera to the paint, in Warp's language for CPUs and GPUs."""

# mypy: ignore-errors
# What is below looks like Python and is translated by Warp, which reads the types of arguments itself: they cannot be
# postponed to strings.
import warp as wp

_FAR = wp.constant(1.0e30)


@wp.func
def interpolated(table: wp.array(dtype=wp.vec3), steps: int, triangle: int, u: float, v: float) -> wp.vec3:
    """A value at a point of a triangle, from a table of `Tables`."""
    if steps == 0:  # the same everywhere
        return table[0]
    if steps == 1:
        return table[triangle]
    return table[3 * triangle] + u * table[3 * triangle + 1] + v * table[3 * triangle + 2]


@wp.func
def pixel(pixels: wp.array2d(dtype=wp.uint8), row: int) -> wp.vec3:
    """RGB of a texture, 0 to 255."""
    return wp.vec3(float(pixels[row, 0]), float(pixels[row, 1]), float(pixels[row, 2]))


@wp.func
def repeated(place: int, size: int) -> int:
    """A pixel's number in a picture that is repeated."""
    rest = place % size
    if rest < 0:
        rest += size
    return rest


@wp.func
def texture_at(pixels: wp.array2d(dtype=wp.uint8), first: int, width: int, height: int, place: wp.vec2) -> wp.vec3:
    """Bilinear colour of a repeated texture."""
    x = (place[0] - wp.floor(place[0])) * float(width) - 0.5
    y = (wp.ceil(place[1]) - place[1]) * float(height) - 0.5
    right_share = x - wp.floor(x)
    low_share = y - wp.floor(y)
    left = repeated(int(wp.floor(x)), width)
    right = repeated(int(wp.floor(x)) + 1, width)
    top = first + repeated(int(wp.floor(y)), height) * width
    low = first + repeated(int(wp.floor(y)) + 1, height) * width
    upper = wp.lerp(pixel(pixels, top + left), pixel(pixels, top + right), right_share)
    lower = wp.lerp(pixel(pixels, low + left), pixel(pixels, low + right), right_share)
    return wp.lerp(upper, lower, low_share) / 255.0


@wp.kernel(enable_backward=False)
def cast_rays(
    mesh: wp.uint64,
    radius: float,
    normals: wp.array(dtype=wp.vec3),
    normal_steps: int,
    colours: wp.array(dtype=wp.vec3),
    colour_steps: int,
    uv: wp.array(dtype=wp.vec2),
    texture: wp.array(dtype=wp.int32),
    pictures: wp.array2d(dtype=wp.int32),
    pixels: wp.array2d(dtype=wp.uint8),
    rotations: wp.array3d(dtype=float),
    translations: wp.array2d(dtype=float),
    rays: wp.array2d(dtype=float),
    zoom: wp.array2d(dtype=float),
    hit: wp.array2d(dtype=wp.uint8),
    depth: wp.array2d(dtype=float),
    normal: wp.array3d(dtype=float),
    albedo: wp.array3d(dtype=float),
) -> None:
    """One ray of one image: `rendering.buffers.Castable.cast`."""
    i, j = wp.tid()
    ray = wp.vec3(rays[j, 0] * zoom[i, 0], rays[j, 1] * zoom[i, 1], rays[j, 2])
    centre = wp.vec3(translations[i, 0], translations[i, 1], translations[i, 2])
    along = wp.dot(ray, centre)
    away = wp.dot(centre, centre) - radius * radius
    # Most rays of many images miss the circumscribed sphere.
    if away > 0.0 and (along <= 0.0 or along * along <= away * wp.dot(ray, ray)):
        return
    turn = wp.mat33(
        rotations[i, 0, 0], rotations[i, 0, 1], rotations[i, 0, 2],
        rotations[i, 1, 0], rotations[i, 1, 1], rotations[i, 1, 2],
        rotations[i, 2, 0], rotations[i, 2, 1], rotations[i, 2, 2],
    )  # fmt: skip
    back = wp.transpose(turn)
    direction = back * ray
    found = wp.mesh_query_ray(mesh, -(back * centre), direction, _FAR)
    if not found.result:
        return
    hit[i, j] = wp.uint8(1)
    depth[i, j] = found.t
    # Warp's coordinates are the shares of corners 0 and 1.
    u = found.v
    v = 1.0 - found.u - found.v
    outward = wp.normalize(interpolated(normals, normal_steps, found.face, u, v))
    if wp.dot(found.normal, direction) > 0.0:
        outward = -outward
    outward = turn * outward
    colour = interpolated(colours, colour_steps, found.face, u, v)
    if texture[found.face] >= 0:
        kind = texture[found.face]
        place = uv[3 * found.face] + u * uv[3 * found.face + 1] + v * uv[3 * found.face + 2]
        colour = wp.cw_mul(colour, texture_at(pixels, pictures[kind, 0], pictures[kind, 1], pictures[kind, 2], place))
    for k in range(3):
        normal[i, k, j] = outward[k]
        albedo[i, k, j] = colour[k]
