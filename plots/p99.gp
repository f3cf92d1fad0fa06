# p99 of each server, with the interval of the median.
# Columns and use as in ladder.gp.
load here."common.gp"
set title heading
set xlabel "p99, us"
set xrange [0:*]
set yrange [rows - 0.4:-0.6]
set ytics scale 0
unset key
plot data using 5:0:6:7:ytic(1) \
         with xerrorbars linecolor rgb red linewidth 2 pointtype 7, \
     data using 5:0:(sprintf("%.0f", $5)) \
         with labels offset 0, 0.9 textcolor rgb ink
