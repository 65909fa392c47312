// Runs the Arduino example on what comes in on standard input.
#include "arduino.h"
#include "../../clients/c/examples/sketch.ino"

int main() {
    setup();
    loop();
    printf("%d lights, %u bytes of memory\n", lights, (unsigned)(sizeof line + sizeof message));
    return 0;
}
