/* Prints what a datagram, or a line's bytes, say: the JSON of docs/wire.md.
 *
 *     decode FILE...          each file is one datagram
 *     decode --line FILE      a file of a line's bytes, as an array
 */
#include <inttypes.h>
#include <stdio.h>

#include "../posewire.h"

static const char *const COCO[PW_JOINTS] = {
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle"};
static const char *const H36M[PW_JOINTS] = {
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "spine", "thorax", "neck", "head", "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist"};
static const char *const CLOCKS[] = {"unknown", "free", "ntp", "ptp"};
static const char *const ENGINES[] = {"unknown", "tract", "tensorrt"};
static const char *const PRECISIONS[] = {"unknown", "f32", "f16", "i8"};
static const char *const STATES[] = {"starting", "running", "degraded", "failed", "stopping"};
static const char *const SEVERITIES[] = {"skip", "restart", "fatal"};

static const char *yes(int what) { return what ? "true" : "false"; }

static void share(uint8_t byte) {
    if (byte == PW_NO_SHARE) printf("null");
    else printf("%.3f", byte / 254.0);
}

static void stage(const char *name, uint32_t us) {
    if (us == PW_NO_STAGE) printf(",\"%s\":null", name);
    else printf(",\"%s\":%" PRIu32, name, us);
}

static void floats(const char *name, int known, const float *values, int count) {
    int i;
    printf(",\"%s\":", name);
    if (!known) {
        printf("null");
        return;
    }
    for (i = 0; i < count; i++) printf("%c%#.9g", i ? ',' : '[', (double)values[i]);
    printf("]");
}

static void points(const char *name, const char *const *names, const float *values, int axes,
                   const uint8_t *confidence) {
    int i, axis;
    printf(",\"%s\":{", name);
    for (i = 0; i < PW_JOINTS; i++) {
        printf("%s\"%s\":[", i ? "," : "", names[i]);
        for (axis = 0; axis < axes; axis++) printf("%#.9g,", (double)values[i * axes + axis]);
        share(confidence[i]);
        printf("]");
    }
    printf("}");
}

static void person(const pw_person *p, const char *const *names) {
    printf("{\"track\":%" PRIu32 ",\"describes_us\":%" PRId64 ",\"lookahead_us\":%" PRIu32, p->track,
           p->describes_us, p->lookahead_us);
    printf(",\"predicted\":%s,\"revision\":%s,\"withheld\":%s", yes(p->predicted),
           yes(p->revision), yes(p->withheld));
    printf(",\"score\":");
    share(p->score);
    printf(",\"plausibility\":");
    share(p->plausibility);
    floats("root", p->has_root, p->root, 3);
    floats("root_covariance", p->has_root_covariance, p->root_covariance, 6);
    if (p->has_joints) points("joints", names, &p->joints[0][0], 3, p->joint_confidence);
    else printf(",\"joints\":null");
    if (p->has_keypoints) points("keypoints", COCO, &p->keypoints[0][0], 2, p->keypoint_confidence);
    else printf(",\"keypoints\":null");
    printf("}");
}

static void text(const char *name, const char *words) {
    printf(",\"%s\":\"", name);
    for (; *words; words++) {
        if (*words == '"' || *words == '\\') printf("\\%c", *words);
        else if ((unsigned char)*words < 0x20) printf("\\u%04x", (unsigned)*words);
        else putchar(*words);
    }
    printf("\"");
}

static void pose(pw_message *m) {
    const pw_pose *p = &m->pose;
    pw_person one;
    int first = 1;
    printf(",\"camera\":%u,\"sequence\":%" PRIu64 ",\"part\":%u,\"parts\":%u", p->camera,
           p->sequence, p->part, p->parts);
    printf(",\"media_time\":%s,\"degraded\":%s", yes(p->media_time), yes(p->degraded));
    printf(",\"captured_us\":%" PRId64 ",\"dequeued_us\":%" PRId64, p->captured_us, p->dequeued_us);
    stage("decoded_us", p->decoded_us);
    stage("detected_us", p->detected_us);
    stage("lifted_us", p->lifted_us);
    printf(",\"image_size\":[%u,%u]", p->width, p->height);
    printf(",\"engine\":\"%s\",\"precision\":\"%s\",\"model\":\"%08" PRIx32 "\"",
           ENGINES[p->engine < 3 ? p->engine : 0], PRECISIONS[p->precision < 4 ? p->precision : 0],
           p->model);
    printf(",\"skeleton\":\"%s\",\"persons_in_frame\":%u,\"persons\":[",
           p->skeleton == 1 ? "coco17" : "h36m17", p->persons_in_frame);
    while (pw_next_person(m, &one)) {
        if (!first) printf(",");
        first = 0;
        person(&one, p->skeleton == 1 ? COCO : H36M);
    }
    printf("]");
}

static void status(pw_message *m) {
    const pw_status *s = &m->status;
    pw_fault fault;
    int first = 1;
    printf(",\"state\":\"%s\",\"interval_ms\":%" PRIu32 ",\"uptime_s\":%" PRIu32, STATES[s->state],
           s->interval_ms, s->uptime_s);
    printf(",\"fps_in\":%.3f,\"fps_out\":%.3f", s->fps_in_milli / 1e3, s->fps_out_milli / 1e3);
    printf(",\"frames_in\":%" PRIu64 ",\"frames_out\":%" PRIu64 ",\"frames_displaced\":%" PRIu64,
           s->frames_in, s->frames_out, s->frames_displaced);
    printf(",\"frames_missed\":%" PRIu64 ",\"frames_bad\":%" PRIu64, s->frames_missed,
           s->frames_bad);
    if (s->temperature_decicelsius == -32768) printf(",\"temperature_celsius\":null");
    else printf(",\"temperature_celsius\":%.1f", s->temperature_decicelsius / 10.0);
    printf(",\"faults\":[");
    while (pw_next_fault(m, &fault)) {
        printf("%s{\"severity\":\"%s\"", first ? "" : ",", SEVERITIES[fault.severity]);
        first = 0;
        text("name", fault.name);
        if (fault.camera == 255) printf(",\"camera\":null");
        else printf(",\"camera\":%u", fault.camera);
        printf(",\"since_us\":%" PRId64 ",\"count\":%" PRIu32, fault.since_us, fault.count);
        text("detail", fault.detail);
        printf("}");
    }
    printf("]");
}

static void metres(const int16_t *mm) {
    printf("%.3f,%.3f,%.3f", mm[0] / 1e3, mm[1] / 1e3, mm[2] / 1e3);
}

static void compact(const pw_compact *c) {
    int i;
    printf(",\"camera\":%u,\"sequence\":%u,\"media_time\":%s,\"degraded\":%s", c->camera,
           c->sequence, yes(c->media_time), yes(c->degraded));
    stage("age_us", c->age_us);
    printf(",\"lookahead_us\":%" PRIu32 ",\"skeleton\":\"h36m17\"", c->lookahead_us);
    printf(",\"persons_in_frame\":%u,\"person_index\":%u", c->persons_in_frame, c->person_index);
    if (c->root_deviation_cm == 255) printf(",\"root_deviation\":null");
    else printf(",\"root_deviation\":%.2f", c->root_deviation_cm / 100.0);
    if (c->persons_in_frame == 0) {
        printf(",\"person\":null");
        return;
    }
    printf(",\"person\":{\"track\":%u,\"describes_us\":%" PRIu32, c->track, c->describes_us);
    printf(",\"predicted\":%s,\"revision\":%s,\"withheld\":%s,\"score\":", yes(c->predicted),
           yes(c->revision), yes(c->withheld));
    share(c->score);
    printf(",\"plausibility\":");
    share(c->plausibility);
    printf(",\"root\":");
    if (c->has_root) {
        printf("[");
        metres(c->root);
        printf("]");
    } else {
        printf("null");
    }
    printf(",\"joints\":");
    if (!c->has_joints) {
        printf("null}");
        return;
    }
    for (i = 0; i < PW_JOINTS; i++) {
        printf("%c\"%s\":[", i ? ',' : '{', H36M[i]);
        metres(c->joints[i]);
        printf(",");
        share(c->joint_confidence[i]);
        printf("]");
    }
    printf("}}");
}

static void meaning(const uint8_t *bytes, size_t length) {
    static pw_message m;
    int error = pw_decode(bytes, length, &m);
    if (error != PW_OK) {
        printf("{\"error\":\"%s\"}", pw_error_name(error));
        return;
    }
    if (m.kind == PW_POSE) printf("{\"type\":\"pose\"");
    else if (m.kind == PW_STATUS) printf("{\"type\":\"status\"");
    else if (m.kind == PW_COMPACT) printf("{\"type\":\"compact\"");
    else printf("{\"type\":%u", m.kind);
    if (m.header.is_short) {
        printf(",\"session\":\"%02" PRIx64 "\",\"packet\":%" PRIu32, m.header.session,
               m.header.packet);
    } else {
        printf(",\"session\":\"%016" PRIx64 "\",\"packet\":%" PRIu32, m.header.session,
               m.header.packet);
        printf(",\"sent_us\":%" PRId64 ",\"realtime_offset_us\":%" PRId64 ",\"clock\":\"%s\"",
               m.header.sent_us, m.header.realtime_offset_us, CLOCKS[m.header.clock]);
    }
    if (m.kind == PW_POSE) pose(&m);
    else if (m.kind == PW_STATUS) status(&m);
    else if (m.kind == PW_COMPACT) compact(&m.compact);
    printf("}");
}

static void line(const uint8_t *bytes, size_t length) {
    static pw_line reader;
    size_t i;
    int first = 1;
    printf("[");
    for (i = 0; i < length; i++) {
        int found = pw_line_feed(&reader, bytes[i]);
        if (found == 0) continue;
        if (!first) printf(",\n");
        first = 0;
        if (found == 1) meaning(reader.frame, reader.length);
        else printf("{\"error\":\"%s\"}", pw_error_name(found));
    }
    printf("]");
}

int main(int argc, char **argv) {
    static uint8_t bytes[1 << 16];
    int i, is_line = argc > 1 && strcmp(argv[1], "--line") == 0;
    for (i = 1 + is_line; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        size_t length;
        if (!file) {
            perror(argv[i]);
            return 1;
        }
        length = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        if (is_line) line(bytes, length);
        else meaning(bytes, length);
        printf("\n");
    }
    return 0;
}
