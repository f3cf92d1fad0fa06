# System calls of a request by kind, stacked.
# Columns: name, receive, send, wait, other.
load here."common.gp"
set title heading
set ylabel "system calls a request"
set style data histograms
set style histogram rowstacked
set style fill solid 0.85 noborder
set boxwidth 0.6
set yrange [0:*]
set xtics scale 0
set key outside top horizontal
plot data using 2:xtic(1) title "receive" linecolor rgb blue, \
     "" using 3 title "send" linecolor rgb green, \
     "" using 4 title "wait" linecolor rgb red, \
     "" using 5 title "other" linecolor rgb grey
