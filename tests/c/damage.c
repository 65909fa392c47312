/* Feeds pw_decode and pw_line_feed what nobody would send: golden messages with changed bytes (half
 * of them with a right check value, so that every field is read), cut at every length, and noise.
 * Built with the sanitizers; a fault ends it.
 *
 *     damage ROUNDS FILE...
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../clients/c/posewire.h"

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint32_t below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) % limit);
}

static unsigned long accepted, refused, persons, faults, frames;

/* In a block of exactly its size, so that reading one byte too many is seen. */
static void take(const uint8_t *bytes, size_t length) {
    uint8_t *exact = (uint8_t *)malloc(length ? length : 1);
    pw_message message;
    pw_person person;
    pw_fault fault;
    memcpy(exact, bytes, length);
    if (pw_decode(exact, length, &message) == PW_OK) {
        unsigned n = 0;
        accepted++;
        while (pw_next_person(&message, &person)) n++;
        if (message.kind == PW_POSE && n != message.pose.persons_here) abort();
        persons += n;
        n = 0;
        while (pw_next_fault(&message, &fault)) n++;
        if (message.kind == PW_STATUS && n != message.status.faults) abort();
        faults += n;
    } else {
        refused++;
    }
    free(exact);
}

static void reseal(uint8_t *bytes, size_t length) {
    size_t body = length - 4;
    uint32_t crc;
    if (bytes[0] == 'p') bytes[2] = (uint8_t)length;
    crc = pw_crc32c(bytes, body);
    bytes[body] = (uint8_t)crc;
    bytes[body + 1] = (uint8_t)(crc >> 8);
    bytes[body + 2] = (uint8_t)(crc >> 16);
    bytes[body + 3] = (uint8_t)(crc >> 24);
}

int main(int argc, char **argv) {
    static uint8_t bytes[4096], changed[4096];
    static pw_line line;
    long rounds = argc > 1 ? atol(argv[1]) : 0, round;
    int i;
    for (i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        size_t length, n;
        if (!file) return 1;
        length = fread(bytes, 1, 2048, file);
        fclose(file);
        for (n = 0; n <= length; n++) take(bytes, n);
        for (round = 0; round < rounds; round++) {
            uint32_t changes = 1 + below(6), k;
            memcpy(changed, bytes, length);
            for (k = 0; k < changes; k++) changed[below((uint32_t)length)] = (uint8_t)below(256);
            if (length >= 12 && round % 2) reseal(changed, length);
            take(changed, length);
            for (n = 0; n < length; n++)
                if (pw_line_feed(&line, changed[n]) == 1) {
                    frames++;
                    take(line.frame, line.length);
                }
        }
    }
    printf("accepted %lu refused %lu persons %lu faults %lu frames %lu\n", accepted, refused,
           persons, faults, frames);
    return accepted > 0 && refused > 0 && persons > 0 && faults > 0 && frames > 0 ? 0 : 1;
}
