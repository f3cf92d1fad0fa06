# p99 of the fast class of requests, with the interval of the median.
# Columns: name, p99, low, high; least and most bound the axis.
load here."common.gp"
set title heading
set xlabel "p99 of the fast class, us"
set logscale x
set xrange [least / 2:most * 4]
set yrange [rows - 0.4:-0.6]
set ytics scale 0
unset key
plot data using 2:0:3:4:ytic(1) \
         with xerrorbars linecolor rgb red linewidth 2 pointtype 7, \
     data using 2:0:(sprintf("%.0f", $2)) \
         with labels offset 0, 0.9 textcolor rgb ink
