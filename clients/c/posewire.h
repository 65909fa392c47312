/* Reads the messages of posewire (docs/wire.md, version 1) from UDP datagrams and serial lines.
 *
 * One header, C99 or C++11, no allocation, no library beyond <string.h>; from a microcontroller
 * to a server. Every function looks at all lengths: no bytes, whatever they are, make it read or
 * write beyond what it was given.
 *
 *     pw_message message;
 *     if (pw_decode(bytes, length, &message) == PW_OK && message.kind == PW_POSE) {
 *         pw_person person;
 *         while (pw_next_person(&message, &person))
 *             if (person.has_joints)
 *                 use(person.joints[PW_HEAD]);       // metres, relative to the pelvis
 *     }
 *
 * A serial line, byte by byte:
 *
 *     static pw_line line;                           // all zero is a line at its beginning
 *     if (pw_line_feed(&line, byte) == 1 &&
 *         pw_decode(line.frame, line.length, &message) == PW_OK &&
 *         message.kind == PW_COMPACT && message.compact.has_joints)
 *         use(message.compact.joints[PW_HEAD]);      // millimetres
 *
 * Signatures are not checked here; they are ignored.
 *
 * Apache-2.0 OR MIT.
 */
#ifndef POSEWIRE_H
#define POSEWIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PW_JOINTS 17
#define PW_MAX_PERSONS 16
#define PW_MAX_FAULTS 6

/* The longest frame of a line that is kept. Messages with a short header have at most 255 bytes:
 * define 255 where memory is short; longer frames are then told as PW_OVERLONG and skipped. */
#ifndef PW_LINE_MAX
#define PW_LINE_MAX 1452
#endif

/* What pw_decode returns. */
enum {
    PW_OK = 0,
    PW_NOT_POSEWIRE = 1,
    PW_VERSION = 2,
    PW_TRUNCATED = 3,
    PW_CRC = 4,
    PW_TOO_SHORT = 5,
    PW_NOT_FINITE = 6,
    PW_BAD_VALUE = 7,
    PW_UNKNOWN_SKELETON = 8,
    /* Of pw_line_feed, negative. */
    PW_TORN = -1,
    PW_OVERLONG = -2
};

/* pw_message.kind. Other values: a type that this version does not know; its header counts. */
enum { PW_POSE = 1, PW_STATUS = 2, PW_COMPACT = 3 };

/* Joints of skeleton 2, h36m17. */
enum {
    PW_PELVIS, PW_RIGHT_HIP, PW_RIGHT_KNEE, PW_RIGHT_ANKLE, PW_LEFT_HIP, PW_LEFT_KNEE,
    PW_LEFT_ANKLE, PW_SPINE, PW_THORAX, PW_NECK, PW_HEAD, PW_LEFT_SHOULDER, PW_LEFT_ELBOW,
    PW_LEFT_WRIST, PW_RIGHT_SHOULDER, PW_RIGHT_ELBOW, PW_RIGHT_WRIST
};

/* "Not known" of a share (0..254 are n/254), and of a stage's microseconds. */
#define PW_NO_SHARE 255u
#define PW_NO_STAGE 0xFFFFFFFFu
#define PW_NO_AGE 0xFFFFFFFFu

/* Who sent a message, and which in the row it is. With a short header only the lowest byte of the
 * session and the lower 16 bits of the packet count are known; the rest is 0. */
typedef struct {
    uint64_t session;
    uint32_t packet;
    uint8_t is_short;
    uint8_t clock; /* 0 unknown, 1 free, 2 NTP, 3 PTP */
    int64_t sent_us;
    int64_t realtime_offset_us;
} pw_header;

typedef struct {
    uint8_t camera, skeleton, part, parts, persons_here, persons_in_frame;
    uint8_t media_time, degraded;
    uint8_t engine;    /* 0 unknown, 1 tract, 2 tensorrt */
    uint8_t precision; /* 0 unknown, 1 f32, 2 f16, 3 i8 */
    uint32_t model;
    uint16_t width, height;
    uint64_t sequence;
    int64_t captured_us, dequeued_us;
    uint32_t decoded_us, detected_us, lifted_us; /* after dequeued; PW_NO_STAGE */
} pw_pose;

typedef struct {
    uint32_t track;
    int64_t describes_us;
    uint32_t lookahead_us;
    uint8_t predicted, revision, withheld;
    uint8_t score, plausibility; /* shares */
    uint8_t has_root, has_root_covariance, has_joints, has_keypoints;
    float root[3];            /* metres, in the camera frame */
    float root_covariance[6]; /* xx xy xz yy yz zz */
    float joints[PW_JOINTS][3]; /* metres, relative to the pelvis */
    uint8_t joint_confidence[PW_JOINTS];
    float keypoints[PW_JOINTS][2]; /* pixels */
    uint8_t keypoint_confidence[PW_JOINTS];
} pw_person;

typedef struct {
    uint8_t state; /* 0 starting, 1 running, 2 degraded, 3 failed, 4 stopping */
    uint8_t faults;
    uint32_t interval_ms, uptime_s, fps_in_milli, fps_out_milli;
    uint64_t frames_in, frames_out, frames_displaced, frames_missed, frames_bad;
    int16_t temperature_decicelsius; /* -32768: not known */
} pw_status;

typedef struct {
    uint8_t severity; /* 0 skip, 1 restart, 2 fatal */
    uint8_t camera;   /* 255: not a camera's */
    int64_t since_us;
    uint32_t count;
    char name[33], detail[161]; /* UTF-8, ended by a zero */
} pw_fault;

/* One person, or that nobody is in the frame (persons_in_frame is 0). */
typedef struct {
    uint8_t camera, persons_in_frame, person_index;
    uint8_t media_time, degraded;
    uint16_t sequence;     /* lower 16 bits */
    uint32_t age_us;       /* when sent; PW_NO_AGE */
    uint32_t lookahead_us;
    uint8_t root_deviation_cm; /* 255: not known */
    uint16_t track;        /* lower 16 bits */
    uint32_t describes_us; /* lower 32 bits */
    uint8_t predicted, revision, withheld;
    uint8_t score, plausibility;
    uint8_t has_root, has_joints;
    int16_t root[3];              /* millimetres, in the camera frame */
    int16_t joints[PW_JOINTS][3]; /* millimetres, relative to the pelvis */
    uint8_t joint_confidence[PW_JOINTS];
} pw_compact;

typedef struct {
    uint8_t kind; /* PW_POSE, PW_STATUS, PW_COMPACT, or unknown */
    pw_header header;
    /* The one that `kind` names. */
    pw_pose pose;
    pw_status status;
    pw_compact compact;
    /* The blocks that pw_next_person and pw_next_fault have not given yet. They point into the
     * bytes that pw_decode was given, which must still be there. */
    const uint8_t *blocks;
    size_t blocks_length;
    uint8_t blocks_left;
} pw_message;

/* A name for statistics; the same as the other implementations'. */
static inline const char *pw_error_name(int error) {
    switch (error) {
    case PW_OK: return "ok";
    case PW_NOT_POSEWIRE: return "not-posewire";
    case PW_VERSION: return "version";
    case PW_TRUNCATED: return "truncated";
    case PW_CRC: return "crc";
    case PW_TOO_SHORT: return "too-short";
    case PW_NOT_FINITE: return "not-finite";
    case PW_BAD_VALUE: return "bad-value";
    case PW_UNKNOWN_SKELETON: return "unknown-skeleton";
    case PW_TORN: return "torn-frame";
    case PW_OVERLONG: return "overlong-frame";
    default: return "?";
    }
}

/* CRC-32C, four bits at a time: a table of 64 bytes. */
static inline uint32_t pw_crc32c(const uint8_t *bytes, size_t length) {
    static const uint32_t table[16] = {
        0x00000000u, 0x105EC76Fu, 0x20BD8EDEu, 0x30E349B1u, 0x417B1DBCu, 0x5125DAD3u,
        0x61C69362u, 0x7198540Du, 0x82F63B78u, 0x92A8FC17u, 0xA24BB5A6u, 0xB21572C9u,
        0xC38D26C4u, 0xD3D3E1ABu, 0xE330A81Au, 0xF36E6F75u};
    uint32_t crc = 0xFFFFFFFFu;
    size_t i;
    for (i = 0; i < length; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return crc ^ 0xFFFFFFFFu;
}

/* What follows, up to pw_decode, is its own business. */

typedef struct {
    const uint8_t *at;
    size_t left;
    int error;
} pw_reader_;

static inline pw_reader_ pw_reader_of_(const uint8_t *bytes, size_t length) {
    pw_reader_ r;
    r.at = bytes;
    r.left = length;
    r.error = PW_OK;
    return r;
}

static inline uint8_t pw_u8_(pw_reader_ *r) {
    if (r->left < 1) {
        if (r->error == PW_OK) r->error = PW_TOO_SHORT;
        return 0;
    }
    r->left--;
    return *r->at++;
}

static inline uint16_t pw_u16_(pw_reader_ *r) {
    uint16_t low = pw_u8_(r);
    return (uint16_t)(low | (uint16_t)((uint16_t)pw_u8_(r) << 8));
}

static inline uint32_t pw_u32_(pw_reader_ *r) {
    uint32_t low = pw_u16_(r);
    return low | (uint32_t)pw_u16_(r) << 16;
}

static inline uint64_t pw_u64_(pw_reader_ *r) {
    uint64_t low = pw_u32_(r);
    return low | (uint64_t)pw_u32_(r) << 32;
}

static inline int16_t pw_i16_(pw_reader_ *r) {
    uint16_t bits = pw_u16_(r);
    int16_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int64_t pw_i64_(pw_reader_ *r) {
    uint64_t bits = pw_u64_(r);
    int64_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void pw_floats_(pw_reader_ *r, float *into, size_t count) {
    size_t i;
    for (i = 0; i < count; i++) {
        uint32_t bits = pw_u32_(r);
        if ((bits & 0x7F800000u) == 0x7F800000u && r->error == PW_OK) r->error = PW_NOT_FINITE;
        memcpy(&into[i], &bits, sizeof bits);
    }
}

static inline void pw_bytes_(pw_reader_ *r, uint8_t *into, size_t count) {
    size_t i;
    for (i = 0; i < count; i++) into[i] = pw_u8_(r);
}

/* A block that begins with its own length; what is not known at its end is skipped. */
static inline pw_reader_ pw_block_(pw_reader_ *r) {
    pw_reader_ inside = pw_reader_of_(r->at, 0);
    size_t length = r->left >= 2 ? (size_t)(r->at[0] | (uint16_t)((uint16_t)r->at[1] << 8)) : 0;
    if (length < 2 || length > r->left) {
        if (r->error == PW_OK) r->error = PW_TOO_SHORT;
        inside.error = r->error;
        return inside;
    }
    inside.at = r->at + 2;
    inside.left = length - 2;
    r->at += length;
    r->left -= length;
    return inside;
}

static inline int pw_read_person_(pw_reader_ *r, pw_person *p) {
    uint16_t flags = pw_u16_(r);
    p->track = pw_u32_(r);
    p->describes_us = pw_i64_(r);
    p->lookahead_us = pw_u32_(r);
    p->score = pw_u8_(r);
    p->plausibility = pw_u8_(r);
    (void)pw_u16_(r);
    p->has_root = (flags & 1u) != 0;
    p->has_root_covariance = (flags & 2u) != 0;
    p->has_joints = (flags & 4u) != 0;
    p->has_keypoints = (flags & 8u) != 0;
    p->predicted = (flags & 0x100u) != 0;
    p->revision = (flags & 0x200u) != 0;
    p->withheld = (flags & 0x400u) != 0;
    if (p->has_root) pw_floats_(r, p->root, 3);
    if (p->has_root_covariance) pw_floats_(r, p->root_covariance, 6);
    if (p->has_joints) {
        pw_floats_(r, &p->joints[0][0], (size_t)PW_JOINTS * 3);
        pw_bytes_(r, p->joint_confidence, PW_JOINTS);
    }
    if (p->has_keypoints) {
        pw_floats_(r, &p->keypoints[0][0], (size_t)PW_JOINTS * 2);
        pw_bytes_(r, p->keypoint_confidence, PW_JOINTS);
    }
    return r->error;
}

/* Of a text: is it UTF-8 (RFC 3629)? */
static inline int pw_is_utf8_(const uint8_t *text, size_t length) {
    size_t i = 0;
    while (i < length) {
        uint8_t first = text[i++];
        size_t more;
        uint8_t low = 0x80, high = 0xBF;
        if (first < 0x80) continue;
        if (first >= 0xC2 && first <= 0xDF) more = 1;
        else if (first >= 0xE0 && first <= 0xEF) more = 2;
        else if (first >= 0xF0 && first <= 0xF4) more = 3;
        else return 0;
        if (first == 0xE0) low = 0xA0;
        if (first == 0xED) high = 0x9F;
        if (first == 0xF0) low = 0x90;
        if (first == 0xF4) high = 0x8F;
        while (more-- > 0) {
            if (i >= length || text[i] < low || text[i] > high) return 0;
            low = 0x80;
            high = 0xBF;
            i++;
        }
    }
    return 1;
}

static inline int pw_read_fault_(pw_reader_ *r, pw_fault *f) {
    uint8_t name, detail;
    f->severity = pw_u8_(r);
    if (r->error == PW_OK && f->severity > 2) return PW_BAD_VALUE;
    f->camera = pw_u8_(r);
    f->since_us = pw_i64_(r);
    f->count = pw_u32_(r);
    name = pw_u8_(r);
    detail = pw_u8_(r);
    if (r->error != PW_OK) return r->error;
    if ((size_t)name + detail > r->left) return PW_TOO_SHORT;
    if (name > 32 || detail > 160) return PW_BAD_VALUE;
    if (!pw_is_utf8_(r->at, name) || !pw_is_utf8_(r->at + name, detail)) return PW_BAD_VALUE;
    memcpy(f->name, r->at, name);
    f->name[name] = 0;
    memcpy(f->detail, r->at + name, detail);
    f->detail[detail] = 0;
    return PW_OK;
}

static inline int pw_known_skeleton_(uint8_t id, uint8_t joints) {
    return (id == 1 || id == 2) && joints == PW_JOINTS;
}

/* Reads the frame block, and every person once, so that pw_next_person cannot fail later. */
static inline int pw_read_pose_(pw_reader_ body, pw_message *m) {
    pw_pose *p = &m->pose;
    pw_reader_ r = pw_block_(&body), persons;
    uint8_t flat, points, i;
    uint8_t joints;
    uint16_t flags = pw_u16_(&r);
    p->camera = pw_u8_(&r);
    p->skeleton = pw_u8_(&r);
    joints = pw_u8_(&r);
    if (r.error != PW_OK) return r.error;
    if (!pw_known_skeleton_(p->skeleton, joints)) return PW_UNKNOWN_SKELETON;
    flat = pw_u8_(&r);
    points = pw_u8_(&r);
    if (r.error != PW_OK) return r.error;
    if (flat != 1 || points != PW_JOINTS) return PW_UNKNOWN_SKELETON;
    p->part = pw_u8_(&r);
    p->parts = pw_u8_(&r);
    if (r.error != PW_OK) return r.error;
    if (p->part >= p->parts) return PW_BAD_VALUE;
    p->persons_here = pw_u8_(&r);
    p->persons_in_frame = pw_u8_(&r);
    if (r.error != PW_OK) return r.error;
    if (p->persons_here > PW_MAX_PERSONS || p->persons_here > p->persons_in_frame)
        return PW_BAD_VALUE;
    p->engine = pw_u8_(&r);
    p->precision = pw_u8_(&r);
    (void)pw_u8_(&r);
    p->model = pw_u32_(&r);
    p->width = pw_u16_(&r);
    p->height = pw_u16_(&r);
    p->sequence = pw_u64_(&r);
    p->captured_us = pw_i64_(&r);
    p->dequeued_us = pw_i64_(&r);
    p->decoded_us = pw_u32_(&r);
    p->detected_us = pw_u32_(&r);
    p->lifted_us = pw_u32_(&r);
    p->media_time = (flags & 1u) != 0;
    p->degraded = (flags & 2u) != 0;
    if (r.error != PW_OK) return r.error;
    m->blocks = body.at;
    m->blocks_length = body.left;
    m->blocks_left = p->persons_here;
    persons = body;
    for (i = 0; i < p->persons_here; i++) {
        pw_person person;
        pw_reader_ block = pw_block_(&persons);
        if (persons.error != PW_OK) return persons.error;
        if (pw_read_person_(&block, &person) != PW_OK) return block.error;
    }
    return PW_OK;
}

static inline int pw_read_status_(pw_reader_ body, pw_message *m) {
    pw_status *s = &m->status;
    pw_reader_ r = pw_block_(&body), faults;
    uint8_t i;
    s->state = pw_u8_(&r);
    if (r.error != PW_OK) return r.error;
    if (s->state > 4) return PW_BAD_VALUE;
    s->faults = pw_u8_(&r);
    if (r.error != PW_OK) return r.error;
    if (s->faults > PW_MAX_FAULTS) return PW_BAD_VALUE;
    s->interval_ms = pw_u32_(&r);
    s->uptime_s = pw_u32_(&r);
    s->fps_in_milli = pw_u32_(&r);
    s->fps_out_milli = pw_u32_(&r);
    s->frames_in = pw_u64_(&r);
    s->frames_out = pw_u64_(&r);
    s->frames_displaced = pw_u64_(&r);
    s->frames_missed = pw_u64_(&r);
    s->frames_bad = pw_u64_(&r);
    s->temperature_decicelsius = pw_i16_(&r);
    (void)pw_u16_(&r);
    if (r.error != PW_OK) return r.error;
    m->blocks = body.at;
    m->blocks_length = body.left;
    m->blocks_left = s->faults;
    faults = body;
    for (i = 0; i < s->faults; i++) {
        pw_fault fault;
        pw_reader_ block = pw_block_(&faults);
        int error;
        if (faults.error != PW_OK) return faults.error;
        error = pw_read_fault_(&block, &fault);
        if (error != PW_OK) return error;
    }
    return PW_OK;
}

static inline int pw_read_compact_(pw_reader_ *r, pw_compact *c) {
    uint8_t skeleton, flags, i, axis;
    uint16_t age;
    c->camera = pw_u8_(r);
    skeleton = pw_u8_(r);
    if (r->error != PW_OK) return r->error;
    if ((skeleton & 15u) != 2) return PW_UNKNOWN_SKELETON;
    c->media_time = (skeleton & 16u) != 0;
    c->degraded = (skeleton & 32u) != 0;
    c->persons_in_frame = pw_u8_(r);
    c->person_index = pw_u8_(r);
    if (r->error != PW_OK) return r->error;
    if (c->person_index >= (c->persons_in_frame ? c->persons_in_frame : 1)) return PW_BAD_VALUE;
    c->sequence = pw_u16_(r);
    age = pw_u16_(r);
    c->age_us = age == 0xFFFFu ? PW_NO_AGE : (uint32_t)age * 100u;
    c->lookahead_us = (uint32_t)pw_u8_(r) * 10000u;
    c->root_deviation_cm = pw_u8_(r);
    if (r->error != PW_OK || c->persons_in_frame == 0) return r->error;
    flags = pw_u8_(r);
    c->track = pw_u16_(r);
    c->describes_us = pw_u32_(r);
    c->score = pw_u8_(r);
    c->plausibility = pw_u8_(r);
    c->has_joints = flags & 1u;
    c->predicted = (flags & 4u) != 0;
    c->revision = (flags & 8u) != 0;
    c->withheld = (flags & 16u) != 0;
    if (!c->has_joints) return r->error;
    c->has_root = (flags & 2u) != 0;
    for (axis = 0; axis < 3; axis++) c->root[axis] = pw_i16_(r);
    for (i = 1; i < PW_JOINTS; i++)
        for (axis = 0; axis < 3; axis++) c->joints[i][axis] = pw_i16_(r);
    pw_bytes_(r, c->joint_confidence, PW_JOINTS);
    return r->error;
}

static inline int pw_decode_short_(const uint8_t *bytes, size_t length, pw_message *m) {
    size_t stated;
    pw_reader_ r;
    if (length >= 2 && (bytes[1] >> 4) != 1) return PW_VERSION;
    if (length < 10) return PW_TRUNCATED;
    stated = bytes[2];
    if (length < stated) return PW_TRUNCATED;
    if (stated < 4) return PW_TOO_SHORT;
    r = pw_reader_of_(bytes + stated - 4, 4);
    if (pw_crc32c(bytes, stated - 4) != pw_u32_(&r)) return PW_CRC;
    r = pw_reader_of_(bytes, stated - 4);
    (void)pw_u8_(&r);
    m->kind = pw_u8_(&r) & 15u;
    (void)pw_u8_(&r);
    m->header.is_short = 1;
    m->header.session = pw_u8_(&r);
    m->header.packet = pw_u16_(&r);
    if (r.error != PW_OK) return r.error;
    return m->kind == PW_COMPACT ? pw_read_compact_(&r, &m->compact) : PW_OK;
}

/* Reads a datagram, or a frame of a line; bytes behind the message are ignored. On PW_OK the
 * message is filled in. On anything else it is to be dropped, and counted by pw_error_name. */
static inline int pw_decode(const uint8_t *bytes, size_t length, pw_message *m) {
    static const uint8_t magic[4] = {'P', 'W', 'I', 'R'};
    size_t header_length, stated;
    pw_reader_ r;
    memset(m, 0, sizeof *m);
    if (length == 0) return PW_NOT_POSEWIRE;
    if (bytes[0] == 'p') return pw_decode_short_(bytes, length, m);
    if (memcmp(bytes, magic, length < 4 ? length : 4) != 0) return PW_NOT_POSEWIRE;
    if (length > 4 && bytes[4] != 1) return PW_VERSION;
    if (length < 44) return PW_TRUNCATED;
    header_length = bytes[7];
    stated = (size_t)(bytes[8] | (uint16_t)((uint16_t)bytes[9] << 8));
    if (length < stated) return PW_TRUNCATED;
    if (stated < 4) return PW_TOO_SHORT;
    r = pw_reader_of_(bytes + stated - 4, 4);
    if (pw_crc32c(bytes, stated - 4) != pw_u32_(&r)) return PW_CRC;
    if (header_length < 40 || header_length > stated - 4) return PW_TOO_SHORT;
    m->kind = bytes[6];
    m->header.clock = bytes[10] <= 3 ? bytes[10] : 0;
    r = pw_reader_of_(bytes + 12, 28);
    m->header.packet = pw_u32_(&r);
    m->header.session = pw_u64_(&r);
    m->header.sent_us = pw_i64_(&r);
    m->header.realtime_offset_us = pw_i64_(&r);
    r = pw_reader_of_(bytes + header_length, stated - 4 - header_length);
    if (m->kind == PW_POSE) return pw_read_pose_(r, m);
    if (m->kind == PW_STATUS) return pw_read_status_(r, m);
    /* Type 3 has a short header; behind a full one it is not known. */
    if (m->kind == PW_COMPACT) m->kind = 0;
    return PW_OK;
}

/* The next person of a pose message; 0 when there is none left. */
static inline int pw_next_person(pw_message *m, pw_person *person) {
    pw_reader_ blocks, block;
    if (m->kind != PW_POSE || m->blocks_left == 0) return 0;
    memset(person, 0, sizeof *person);
    blocks = pw_reader_of_(m->blocks, m->blocks_length);
    block = pw_block_(&blocks);
    if (blocks.error != PW_OK || pw_read_person_(&block, person) != PW_OK) return 0;
    m->blocks = blocks.at;
    m->blocks_length = blocks.left;
    m->blocks_left--;
    return 1;
}

/* The next fault of a status message; 0 when there is none left. */
static inline int pw_next_fault(pw_message *m, pw_fault *fault) {
    pw_reader_ blocks, block;
    if (m->kind != PW_STATUS || m->blocks_left == 0) return 0;
    blocks = pw_reader_of_(m->blocks, m->blocks_length);
    block = pw_block_(&blocks);
    if (blocks.error != PW_OK || pw_read_fault_(&block, fault) != PW_OK) return 0;
    m->blocks = blocks.at;
    m->blocks_length = blocks.left;
    m->blocks_left--;
    return 1;
}

/* A serial line's bytes between two zeros, unstuffed (COBS). All zero is a line at its beginning. */
typedef struct {
    uint16_t length;
    uint8_t left;     /* bytes until the next count */
    uint8_t zero_due; /* the next count has a zero before it */
    uint8_t state;    /* 0 between frames, 1 in one, 2 in one that is given up */
    uint8_t frame[PW_LINE_MAX];
} pw_line;

/* Takes one byte. Returns 1 when a frame is whole (line->frame, line->length: until the next
 * call), 0 when there is nothing yet, PW_TORN or PW_OVERLONG for bytes that are no frame. */
static inline int pw_line_feed(pw_line *line, uint8_t byte) {
    int stored = 1;
    if (byte == 0) {
        uint8_t was = line->state;
        line->state = 0;
        if (was != 1) return 0;
        return line->left == 0 ? 1 : PW_TORN;
    }
    if (line->state == 2) return 0;
    if (line->state == 0) {
        line->state = 1;
        line->length = 0;
        line->left = (uint8_t)(byte - 1u);
        line->zero_due = byte != 255;
        return 0;
    }
    if (line->left > 0) {
        line->left--;
        stored = line->length < PW_LINE_MAX;
        if (stored) line->frame[line->length++] = byte;
    } else {
        if (line->zero_due) {
            stored = line->length < PW_LINE_MAX;
            if (stored) line->frame[line->length++] = 0;
        }
        line->left = (uint8_t)(byte - 1u);
        line->zero_due = byte != 255;
    }
    if (stored) return 0;
    line->state = 2;
    return PW_OVERLONG;
}

#endif /* POSEWIRE_H */
