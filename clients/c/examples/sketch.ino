// An Arduino that watches the hands: the light is on while either wrist is above the head.
//
// Wire the sensor's TX to Serial1's RX (3.3 V), and run on the sensor:
//     posewire run ... --publish "serial:/dev/ttyTHS1?baud=115200"
//
// The line and the message take 0.6 kB of memory; reading a full message needs as much of stack.

#define PW_LINE_MAX 255
#include "posewire.h"

static pw_line line;
static pw_message message;

void setup() {
    pinMode(LED_BUILTIN, OUTPUT);
    Serial1.begin(115200);
}

void loop() {
    while (Serial1.available() > 0) {
        if (pw_line_feed(&line, (uint8_t)Serial1.read()) != 1) continue;
        if (pw_decode(line.frame, line.length, &message) != PW_OK) continue;
        if (message.kind != PW_COMPACT || !message.compact.has_joints) continue;
        const pw_compact &pose = message.compact;
        // y points down.
        int16_t hand = pose.joints[PW_LEFT_WRIST][1];
        if (pose.joints[PW_RIGHT_WRIST][1] < hand) hand = pose.joints[PW_RIGHT_WRIST][1];
        digitalWrite(LED_BUILTIN, hand < pose.joints[PW_HEAD][1] ? HIGH : LOW);
    }
}
