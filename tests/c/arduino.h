// What of Arduino the sketch needs, on a PC: its serial port is standard input.
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stdint.h>
#include <stdio.h>

#define OUTPUT 1
#define HIGH 1
#define LOW 0
#define LED_BUILTIN 13

struct SerialPort {
    int next;
    void begin(long) { next = getchar(); }
    int available() const { return next != EOF; }
    int read() {
        int byte = next;
        next = getchar();
        return byte;
    }
};

static SerialPort Serial1;
static int lights;

static inline void pinMode(int, int) {}
static inline void digitalWrite(int, int level) { lights += printf("%d ", level) > 0; }

#endif
