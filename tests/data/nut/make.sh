#!/bin/sh
# Makes small.nut with ffmpeg: five grey pictures of 4x2 at 0, 0.1, 0.2, 0.5 and 3 seconds.
cd "$(dirname "$0")" || exit 1
exec ffmpeg -v error -nostdin -f lavfi -i color=gray:size=4x2:rate=10 -frames:v 5 \
    -vf "setpts='if(eq(N,3),0.5,if(eq(N,4),3,N/10))/TB'" -enc_time_base 1/1000 \
    -fflags +bitexact -c:v rawvideo -pix_fmt gray -f nut -y small.nut
